"""LKM-UNet: a residual U-Net with bidirectional Mamba over large windows in every encoder stage.

Paper: Wang, Chen, Chen, Wu, "LKM-UNet: Large Kernel Vision Mamba UNet for Medical Image Segmentation", MICCAI 2024,
arXiv 2403.07332. Code: github.com/wjh892521292/LKM-UNet (June 2024).

The paper and its code differ. Both are here, with the same parameters, so weights of one load into the other:

| | paper (default) | code (`pim_partition="grid", pam_pool="pow2", windows="released"`) |
|---|---|---|
| PiM scans | the voxels inside contiguous windows (§3.2) | every window-th voxel of the map, never neighbours |
| PaM pools by | the window (§3.2) | 2^k on all axes |
| windows | given for two data sets only (§4.2) | multiples of 5 (2D) and (5, 7, 6) (3D) |
| where a window does not divide the map | assumed not to happen (§3.2) | one sequence over the whole map, silently |

The numbers of the paper's tables most likely come from what the code does; its kernel lists match the paper's.

As in the code, where the paper is silent or differs: the stem is an ordinary convolution (the paper says depth-wise),
PiM has a residual connection too, pooling is average and "unpooling" repeats values, the blocks stand after the
stage's residual convolutions, and the two directions are summed before one shared output projection.

Inferred here, therefore an option: `windows="derived"`, the one rule that gives both kernel lists of the paper and
divides the map of every plan (see `blocks.windows.derived_window`). Ours, too: Mamba runs in float32 under autocast
and returns the map's dtype (the code returns float32 and fails on bfloat16), and its activations are recomputed in the
backward pass in 3D.

Glossary: PiM, pixel-level Mamba, over the voxels of windows. PaM, patch-level Mamba, over the pooled windows. BiM,
bidirectional Mamba. LKM, large kernel Mamba: PiM then PaM. k, exponent of the window size at a stage.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nnunet_ext.architectures.options import are_positive, check_option
from nnunet_ext.architectures.residual_unet import ResidualUNet
from nnunet_ext.blocks.bidirectional import BidirectionalMamba
from nnunet_ext.blocks.recompute import Recomputing
from nnunet_ext.blocks.residual import values
from nnunet_ext.blocks.windows import (
    FixedWindow,
    Partition,
    WindowRule,
    derived_window,
    from_sequences,
    large_kernel_factor,
    split_axes,
    to_sequences,
)

Windows = Literal["derived", "released"] | Sequence[Sequence[int]]
PamPool = Literal["window", "pow2"]

RELEASED_WINDOW = {2: (5, 5), 3: (5, 7, 6)}


class LKMUNet(ResidualUNet):
    """LKM-UNet in 2D or 3D.

    Args:
        *unet, **unet_options: the arguments of `ResidualUNet`, which are nnU-Net's.
        pim_partition: "window", PiM scans contiguous windows (paper); "grid", dilated grids (code).
        pam_pool: "window", PaM pools by the window (paper); "pow2", by 2^k (code).
        windows: "derived" from the strides; "released", the code's sizes, with the whole map as one sequence where
            they do not divide it; or one window per stage, which must divide the maps.
        use_pim, use_pam, bidirectional: the switches of the paper's ablation (Table 3).
        recompute: recompute Mamba's activations in the backward pass, which saves most of its memory for about a
            third of its time; None, in 3D only.

    Raises:
        ValueError: for unknown options or windows that do not fit the topology.

    Example:
        >>> network = LKMUNet(
        ...     1, 3, [8, 16, 32], nn.Conv2d, 3, [1, 2, 2], 2, 2, n_conv_per_stage=2, norm_op=nn.InstanceNorm2d
        ... )
        >>> network(torch.zeros(1, 1, 32, 48)).shape
        torch.Size([1, 2, 32, 48])
    """

    def __init__(
        self,
        *unet: Any,
        pim_partition: Partition = "window",
        pam_pool: PamPool = "window",
        windows: Windows = "derived",
        use_pim: bool = True,
        use_pam: bool = True,
        bidirectional: bool = True,
        recompute: bool | None = None,
        **unet_options: Any,
    ):
        check_option("pim_partition", pim_partition, ("window", "grid"))
        check_option("pam_pool", pam_pool, ("window", "pow2"))
        super().__init__(*unet, **unet_options)
        n_axes = len(self.strides[0])
        if recompute is None:
            recompute = n_axes == 3
        pim_rules = _window_rules(windows, self.strides)
        for stage, channels in enumerate(self.features):
            layers: list[nn.Module] = []
            if use_pim:
                layers.append(PixelMamba(channels, pim_rules[stage], pim_partition, bidirectional, recompute))
            if use_pam:
                factor = large_kernel_factor(stage, len(self.strides))
                pow2 = FixedWindow((factor,) * n_axes, fallback=True)
                rule = pim_rules[stage] if pam_pool == "window" else pow2
                layers.append(PatchMamba(channels, rule, bidirectional, recompute))
            if layers:
                self.encoder.mixers[stage] = LargeKernelMamba(*layers)

    def plan_of_windows(self, patch_size: Sequence[int]) -> list["StageWindows"]:
        """What each Mamba layer does with a patch of this size, stage by stage."""
        rows = []
        for stage, size in enumerate(self.stage_sizes(patch_size)):
            for layer in self.encoder.mixers[stage].children():
                assert isinstance(layer, _Layer)
                rows.append(StageWindows(stage, layer.kind, size, *layer.sequences(size)))
        return rows

    def check_patch_size(self, patch_size: Sequence[int]) -> None:
        """Also raise ValueError if explicit windows do not divide the maps of this patch."""
        super().check_patch_size(patch_size)
        self.plan_of_windows(patch_size)


@dataclass(frozen=True)
class StageWindows:
    """One Mamba layer's sequences for one image: `sequences` of `tokens` each; window None: the map is not cut."""

    stage: int
    layer: str
    map_size: tuple[int, ...]
    window: tuple[int, ...] | None
    tokens: int
    sequences: int

    def __str__(self) -> str:
        """One line for a log."""
        window = "whole map" if self.window is None else "x".join(map(str, self.window))
        return (
            f"stage {self.stage} {self.layer}: map {'x'.join(map(str, self.map_size))}, window {window}, "
            f"{self.sequences} sequence(s) of {self.tokens} token(s)"
        )


class LargeKernelMamba(nn.Sequential):
    """The mixer of a stage: PiM, then PaM."""

    def compute_conv_feature_map_size(self, size: Sequence[int]) -> int:
        """Number of values that the layers keep for one image, see `_Layer.compute_conv_feature_map_size`."""
        return sum(layer.compute_conv_feature_map_size(size) for layer in self if isinstance(layer, _Layer))


class _Layer(Recomputing):
    """A bidirectional Mamba around which the subclasses lay their tokens, with a residual connection.

    A map (B, C, *size) gives a map of the same shape and dtype.
    """

    kind: str

    def __init__(self, channels: int, rule: WindowRule, bidirectional: bool, recompute: bool):
        super().__init__(recompute)
        self.channels = channels
        self.rule = rule
        self.mamba = BidirectionalMamba(channels, bidirectional=bidirectional)

    def sequences(self, size: Sequence[int]) -> tuple[tuple[int, ...] | None, int, int]:
        """(window, tokens per sequence, sequences) of one image's map."""
        raise NotImplementedError

    def compute_conv_feature_map_size(self, size: Sequence[int]) -> int:
        """Number of values that the layer keeps for one image's map; with recomputation only its tokens and output."""
        output = values(self.channels, size)
        if self.recompute:
            return 2 * output
        _, tokens, sequences = self.sequences(size)
        return output + self.mamba.values_kept(tokens * sequences)


class PixelMamba(_Layer):
    """PiM: bidirectional Mamba over the voxels of each window (or dilated grid) of the map."""

    kind = "PiM"

    def __init__(self, channels: int, rule: WindowRule, partition: Partition, bidirectional: bool, recompute: bool):
        super().__init__(channels, rule, bidirectional, recompute)
        self.partition: Partition = partition

    def _cut(self, size: Sequence[int]) -> tuple[tuple[int, ...], Partition]:
        window = self.rule.window(size)
        return (tuple(size), "window") if window is None else (window, self.partition)

    def forward(self, x: Tensor) -> Tensor:
        """Return x + Mamba(tokens of each window)."""
        window, partition = self._cut(x.shape[2:])
        tokens = to_sequences(x, window, partition)  # (B * sequences, length, C)
        mixed = self.recomputed_in_parts(self.mamba, tokens)
        return x + from_sequences(mixed, window, partition, like=x)

    def sequences(self, size: Sequence[int]) -> tuple[tuple[int, ...] | None, int, int]:
        """(window, tokens per sequence, sequences) of one image's map."""
        window, partition = self._cut(size)
        inside = prod(window)
        outside = prod(size) // inside
        tokens, count = (inside, outside) if partition == "window" else (outside, inside)
        return self.rule.window(size), tokens, count


class PatchMamba(_Layer):
    """PaM: bidirectional Mamba over the averages of the windows; each voxel gets its window's output."""

    kind = "PaM"

    def forward(self, x: Tensor) -> Tensor:
        """Return x + Mamba(means of the windows), each repeated over its window."""
        return self.recomputed_in_parts(self._mix, x)

    def _mix(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        window = self.rule.window(size) or (1,) * len(size)
        split = split_axes(x, window)  # (B, C, n1, w1, n2, w2, ...)
        inside = tuple(range(3, split.ndim, 2))
        # float32, because the mean of a window of half precision values is more precise than they are
        means = split.mean(inside, dtype=torch.promote_types(x.dtype, torch.float32))  # (B, C, n1, n2, ...)
        tokens = self.mamba(means.flatten(2).transpose(1, 2))  # (B, n1 * n2 * ..., C)
        mixed = tokens.transpose(1, 2).reshape(means.shape)
        for axis in inside:
            mixed = mixed.unsqueeze(axis)
        # Added in float32: the gradient of `mixed` is a sum over the window, which float16 cannot hold.
        return (split + mixed).to(x.dtype).reshape(x.shape)

    def sequences(self, size: Sequence[int]) -> tuple[tuple[int, ...] | None, int, int]:
        """(pooling window, tokens per sequence, 1) of one image's map."""
        window = self.rule.window(size)
        return window, prod(size) // prod(window or (1,)), 1


def _window_rules(windows: Windows, strides: Sequence[Sequence[int]]) -> list[WindowRule]:
    """One rule per stage."""
    n_stages, n_axes = len(strides), len(strides[0])
    if windows == "derived":
        return [derived_window(stage, strides) for stage in range(n_stages)]
    if windows == "released":
        factors = [large_kernel_factor(stage, n_stages) for stage in range(n_stages)]
        return [FixedWindow(tuple(f * w for w in RELEASED_WINDOW[n_axes]), fallback=True) for f in factors]
    if isinstance(windows, str):
        raise ValueError(f"windows is {windows!r}, expected 'derived', 'released' or one window per stage")
    sizes = list(windows) if isinstance(windows, Iterable) else []
    if len(sizes) != n_stages or not all(are_positive(size, n_axes) for size in sizes):
        raise ValueError(
            f"windows is {windows}, expected {n_stages} windows of {n_axes} positive numbers, one per stage"
        )
    return [FixedWindow(tuple(size), fallback=False) for size in sizes]
