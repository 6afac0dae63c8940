"""MLLA-UNet: a U-Net of Mamba-like linear attention, 2D as published, 3D as our own extension.

Paper: "MLLA-UNet: Mamba-like linear attention in an efficient U-shape model for medical image segmentation", arXiv
2410.23738. Code: github.com/csyfjiang/MLLA-UNet (January 2025), around the blocks of MLLA (arXiv 2405.16605). This file
follows the code, of which the default 2D network has the parameters and the outputs; it was written anew.

As in the code: a skip connection is the *input* of an encoder level, so what the blocks of the upper levels compute
reaches the decoder only through the bottleneck; the logits are made by one fourfold expansion; there is no deep
supervision; the drop path rates of a decoder level are the first ones of the encoder level beside it.

Different from the code, which runs at the one square size that it was built for, and on three channels: any size (the
image is padded with zeros behind its end to what the strides divide, and the logits are cropped) and any number of
channels; no table of positions in the state dict; half precision leaves the attention's core in float32.

Ours, not published:

| | what | option |
|---|---|---|
| 3D | strides per axis and normalisation from the plan, rotary embedding over three axes | `conv_op=nn.Conv3d` |
| plan's topology in 2D | the same in 2D, for maps that five halvings would make too small | `follow_plan=True` |
| deep supervision | a LayerNorm and a linear head for each further scale of the plan | `deep_supervision=True` |

With `follow_plan` the plan's first five pooling strides become those of the stem (two) and of the EDSMs (three).
Further stages of the plan are left out, missing ones have stride 1: a thin axis is halved no more often than planned.
The plan's kernel sizes are not followed: all kernels have 3 voxels on every axis, a thin one too.

Glossary: C, `embed_dim`, channels of level 0; level i has 2^i C. K, classes. EDSM and EUSM, efficient down- and
up-sampling. MLLA, Mamba-like linear attention. Level, blocks at one resolution: 0 the stem's output, 3 the bottleneck.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_ext.architectures.deep_supervision import Switchable
from nnunet_ext.architectures.options import are_positive, check_image, check_operators, check_positive, check_size
from nnunet_ext.architectures.topology import Strides, downsampling_factors, map_sizes
from nnunet_ext.blocks.channels_last import unfold_voxels
from nnunet_ext.blocks.efficient_sampling import EfficientDownsampling, EfficientUpsampling, Stem
from nnunet_ext.blocks.mlla import MLLABlock
from nnunet_ext.blocks.residual import ConvSpec, strided, values

SIZES: dict[str, dict[str, Any]] = {
    "T": {"embed_dim": 64, "depths": (2, 4, 8, 4), "num_heads": (2, 4, 8, 16), "drop_path": 0.2},
    "S": {"embed_dim": 64, "depths": (3, 6, 21, 6), "num_heads": (2, 4, 8, 16), "drop_path": 0.3},
    "B": {"embed_dim": 96, "depths": (3, 6, 21, 6), "num_heads": (3, 6, 12, 24), "drop_path": 0.5},
}
"""The published sizes, as arguments of `MLLAUNet`."""

N_LEVELS = 4
N_STEPS = 5
"""Halvings on the way to the bottleneck: two in the stem, three between the levels."""

UNUSED_PLAN_OPTIONS = {
    "n_stages",
    "features_per_stage",
    "kernel_sizes",
    "n_conv_per_stage",
    "n_blocks_per_stage",
    "n_conv_per_stage_decoder",
    "conv_bias",
    "dropout_op",
    "dropout_op_kwargs",
    "nonlin",
    "nonlin_kwargs",
}
"""What nnU-Net's plans say about convolutional U-Nets and this network fixes itself."""


class MLLAUNet(nn.Module):
    """MLLA-UNet in 2D (published) or 3D (ours); the defaults are size T.

    Args:
        input_channels: channels of the image, in a cascade with the one-hot labels of the previous stage.
        num_classes: output channels K (labels, background included, or regions).
        conv_op: nn.Conv2d or nn.Conv3d.
        embed_dim: channels C of level 0, an even number.
        depths: blocks of the four encoder levels.
        decoder_depths: blocks of the decoder levels 2, 1 and 0; none may be deeper than the encoder's level.
        num_heads: attention heads of the four levels; they must divide the channels.
        drop_path: largest probability with which a sample skips a residual branch in training (stochastic depth).
        strides: the plan's strides, one per stage and axis, each 1 or 2, the first stage's 1. None: five halvings.
        norm_op, norm_op_kwargs: the plan's normalisation.
        follow_plan: take strides and normalisation from the plan (without one: five halvings and instance
            normalisation), not the published five halvings with batch normalisation; None, in 3D only.
        deep_supervision: also return logits at the plan's lower resolutions, highest resolution first. The heads for
            them exist only with it; without it their weights are passed over when a state dict is loaded.
        plan: what else nnU-Net's plans give to a U-Net (`UNUSED_PLAN_OPTIONS`); without effect.

    Raises:
        ValueError: for options that contradict each other.
        TypeError: for unknown options.

    Example:
        >>> network = MLLAUNet(1, 2, embed_dim=16, num_heads=(1, 2, 4, 8))
        >>> network(torch.zeros(2, 1, 64, 40)).shape
        torch.Size([2, 2, 64, 40])
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        conv_op: type[nn.Module] = nn.Conv2d,
        embed_dim: int = 64,
        depths: Sequence[int] = (2, 4, 8, 4),
        decoder_depths: Sequence[int] = (2, 2, 2),
        num_heads: Sequence[int] = (2, 4, 8, 16),
        drop_path: float = 0.2,
        strides: int | Sequence[int | Sequence[int]] | None = None,
        norm_op: type[nn.Module] | None = None,
        norm_op_kwargs: dict[str, Any] | None = None,
        follow_plan: bool | None = None,
        deep_supervision: bool = False,
        **plan: Any,
    ):
        super().__init__()
        if unknown := plan.keys() - UNUSED_PLAN_OPTIONS:
            raise TypeError(f"MLLAUNet has no option {', '.join(sorted(unknown))}")
        n_axes = check_operators(conv_op, norm_op=norm_op)
        check_positive(input_channels=input_channels, num_classes=num_classes)
        _check_sizes(embed_dim, depths, decoder_depths, num_heads, drop_path)
        if follow_plan is None:
            follow_plan = n_axes == 3
        self.follow_plan = follow_plan
        if isinstance(strides, int):
            raise ValueError("strides is one number, expected one entry per stage of the plan")
        plan_strides = None if strides is None else _plan_strides(strides, n_axes)
        one = (1,) * n_axes
        steps = [(2,) * n_axes] * N_STEPS
        if follow_plan and plan_strides is not None:
            steps = [*plan_strides[1:], *[one] * N_STEPS][:N_STEPS]
        if not follow_plan:
            norm_op, norm_op_kwargs = (nn.BatchNorm2d if n_axes == 2 else nn.BatchNorm3d), None
        elif norm_op is None:
            norm_op = nn.InstanceNorm2d if n_axes == 2 else nn.InstanceNorm3d
            norm_op_kwargs = {"affine": True, **(norm_op_kwargs or {})}
        spec = ConvSpec(conv_op, norm_op=norm_op, norm_op_kwargs=norm_op_kwargs or {}, nonlin=nn.ReLU)

        scales = downsampling_factors([one] if plan_strides is None else plan_strides[:-1])
        rates = iter(drop_path * block / max(sum(depths) - 1, 1) for block in range(sum(depths)))
        levels = [
            LevelSpec(conv_op, embed_dim * 2**level, num_heads[level], tuple(islice(rates, depth)))
            for level, depth in enumerate(depths)
        ]
        self.encoder = Encoder(spec, input_channels, levels, steps)
        self.strides = self.encoder.strides
        self.decoder = Decoder(spec, num_classes, levels, decoder_depths, self.strides, scales, deep_supervision)
        self.apply(self.initialize)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Image (B, input_channels, *size) -> logits (B, K, *size); with deep supervision a list, see the class."""
        size = x.shape[2:]
        check_image(x, len(self.strides[0]))
        ends = [-length % step for length, step in zip(size, self.total_stride, strict=True)]
        if any(ends):
            x = F.pad(x, [pad for end in reversed(ends) for pad in (0, end)])
        maps = self.decoder(self.encoder(x))
        outputs = []
        for logits, scale in zip(maps, self.decoder.scales[: len(maps)], strict=True):
            inside = [slice(-(-length // step)) for length, step in zip(size, scale, strict=True)]
            outputs.append(logits[(..., *inside)])
        return outputs if self.decoder.deep_supervision else outputs[0]

    @property
    def total_stride(self) -> tuple[int, ...]:
        """The factor between the image and the bottleneck per axis."""
        return downsampling_factors(self.strides)[-1]

    def stage_sizes(self, patch_size: Sequence[int]) -> list[tuple[int, ...]]:
        """Size of the map of each encoder level for a patch."""
        check_size("the patch size", patch_size, len(self.strides[0]))
        return map_sizes(self._padded(patch_size), self.strides)

    def check_patch_size(self, patch_size: Sequence[int]) -> None:
        """Raise ValueError, with the remedy, if the network cannot be trained on patches of this size."""
        bottleneck = self.stage_sizes(patch_size)[-1]
        coarsest = self.decoder.scales[-1]
        if self.decoder.deep_supervision and any(s % step for s, step in zip(patch_size, coarsest, strict=True)):
            raise ValueError(
                f"the patch size {tuple(patch_size)} is not a multiple of {coarsest}, the coarsest scale of deep "
                "supervision: change the patch size in the plans file, plan again, or train without deep supervision"
            )
        if prod(bottleneck) < 2:
            # Batch normalisation could train on batches, but would leave nothing of one voxel per image but its sign.
            fewer = "a plan with fewer stages" if self.follow_plan else '"follow_plan": true in the plan\'s arch_kwargs'
            raise ValueError(
                f"the patch size {tuple(patch_size)} leaves one voxel at the bottleneck, which normalisation cannot "
                f"train on: use a patch larger than {self.total_stride} on an axis, or {fewer}"
            )

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Number of feature map values for one patch, nnU-Net's measure of memory."""
        check_size("input_size", input_size, len(self.strides[0]))
        padded = self._padded(input_size)
        return sum(part.compute_conv_feature_map_size(padded) for part in (self.encoder, self.decoder))

    def _padded(self, size: Sequence[int]) -> tuple[int, ...]:
        return tuple(-(-length // step) * step for length, step in zip(size, self.total_stride, strict=True))

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """The authors' initialisation of linear layers and norms; for `network.apply`. Convolutions keep PyTorch's."""
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)  # theirs is cut off at 100 standard deviations
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


@dataclass(frozen=True)
class LevelSpec:
    """What the encoder's and the decoder's blocks of one level share."""

    conv_op: type[nn.Module]
    channels: int
    num_heads: int
    drop_path: tuple[float, ...]

    def blocks(self, depth: int) -> nn.Sequential:
        """The first `depth` blocks of the level."""
        return nn.Sequential(
            *(MLLABlock(self.channels, self.num_heads, self.conv_op, rate) for rate in self.drop_path[:depth])
        )


class Encoder(nn.Module):
    """Stem and four levels; returns what the decoder takes: the inputs of levels 0 to 2, and the bottleneck."""

    def __init__(self, spec: ConvSpec, input_channels: int, levels: Sequence[LevelSpec], steps: Strides):
        super().__init__()
        self.strides = [downsampling_factors(steps[:2])[-1], *steps[2:]]
        self.stem = Stem(spec, input_channels, levels[0].channels, steps[:2])
        self.levels = nn.ModuleList(level.blocks(len(level.drop_path)) for level in levels)
        self.downs = nn.ModuleList(
            EfficientDownsampling(spec, level.channels, step)
            for level, step in zip(levels[:-1], steps[2:], strict=True)
        )
        self.norm = nn.LayerNorm(levels[-1].channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, input_channels, *size) -> maps (B, *(size / stride), 2^i C), level 0 first."""
        x = self.stem(x).movedim(1, -1)  # (B, *size / 4, C)
        maps = []
        for level, down in enumerate(self.downs):
            maps.append(x)
            x = down(self.levels[level](x))
        return [*maps, self.norm(self.levels[-1](x))]

    def compute_conv_feature_map_size(self, size: Sequence[int]) -> int:
        """Number of feature map values for an image of this size."""
        sizes = map_sizes(size, self.strides)
        total = self.stem.compute_conv_feature_map_size(size)
        total += sum(_values_of_blocks(level, here) for level, here in zip(self.levels, sizes, strict=True))
        for down, here in zip(self.downs, sizes, strict=False):
            total += cast(EfficientDownsampling, down).compute_conv_feature_map_size(here)
        return total


class Decoder(Switchable):
    """EUSM, the skip connection and blocks per level; then the expansion to the image's size and the head."""

    def __init__(
        self,
        spec: ConvSpec,
        num_classes: int,
        levels: Sequence[LevelSpec],
        depths: Sequence[int],
        strides: Strides,
        scales: Strides,
        deep_supervision: bool,
    ):
        super().__init__(deep_supervision, has_heads=deep_supervision)
        self.num_classes = num_classes
        self.strides = strides
        self.scales = scales
        upwards = list(reversed(levels[:-1]))
        self.ups = nn.ModuleList(
            EfficientUpsampling(spec, 2 * level.channels, stride)
            for level, stride in zip(upwards, reversed(strides[1:]), strict=True)
        )
        self.reduce = nn.ModuleList(nn.Linear(2 * level.channels, level.channels) for level in upwards)
        self.levels = nn.ModuleList(level.blocks(depth) for level, depth in zip(upwards, depths, strict=True))
        channels = levels[0].channels
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, channels * prod(strides[0]), bias=False)
        self.expand_norm = nn.LayerNorm(channels)
        output = spec.conv_op(channels, num_classes, 1, bias=False)
        auxiliary = AuxiliaryHeads(
            AuxiliaryHead([level.channels for level in levels], downsampling_factors(strides), scale, num_classes)
            for scale in (scales[1:] if deep_supervision else [])
        )
        # The name by which nnU-Net knows what to leave out when it fine-tunes onto other labels.
        self.seg_layers = nn.ModuleDict({"output": output, "auxiliary": auxiliary})

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, *size_i, 2^i C), level 0 first -> logits (B, K, *size), then those of the auxiliary heads."""
        x = maps[-1]
        outputs = [x]  # the bottleneck and the output of each level, level 0 first
        for up, reduce, level, skip in zip(self.ups, self.reduce, self.levels, reversed(maps[:-1]), strict=True):
            x = level(reduce(torch.cat((up(x), skip), -1)))
            outputs.insert(0, x)
        x = unfold_voxels(self.expand(self.norm(x)), self.strides[0])  # (B, *size, C)
        logits = self.seg_layers["output"](self.expand_norm(x).movedim(-1, 1))  # (B, K, *size)
        if not self.deep_supervision:
            return [logits]
        auxiliary = cast(AuxiliaryHeads, self.seg_layers["auxiliary"])
        return [logits, *(head(outputs) for head in auxiliary)]

    def compute_conv_feature_map_size(self, size: Sequence[int]) -> int:
        """Number of feature map values; `size` is the size of the image."""
        sizes = map_sizes(size, self.strides)
        channels = self.expand_norm.normalized_shape[0]
        # At the image's size: the expanded map, its norm, the logits.
        total = values(2 * channels + self.num_classes, size)
        for index, (up, level) in enumerate(zip(self.ups, self.levels, strict=True)):
            below, here = sizes[-1 - index], sizes[-2 - index]
            width = cast(nn.Linear, self.reduce[index]).out_features
            total += cast(EfficientUpsampling, up).compute_conv_feature_map_size(below) + values(width, here)
            total += _values_of_blocks(level, here)
        return total + sum(values(self.num_classes, strided(size, scale)) for scale in self.scales[1:])


class AuxiliaryHead(nn.Module):
    """Logits at one of the plan's lower resolutions, from the deepest level that is not coarser.

    A level that is finer is averaged; where no level is fine enough, the head makes a block of voxels of each voxel.
    """

    def __init__(self, channels: Sequence[int], steps: Strides, scale: tuple[int, ...], num_classes: int):
        super().__init__()
        fine = [level for level, step in enumerate(steps) if all(a <= b for a, b in zip(step, scale, strict=True))]
        self.level = max(fine, default=0)
        step = steps[self.level]
        self.pool = tuple(max(b // a, 1) for a, b in zip(step, scale, strict=True))
        self.factors = tuple(max(a // b, 1) for a, b in zip(step, scale, strict=True))
        self.norm = nn.LayerNorm(channels[self.level])
        self.head = nn.Linear(channels[self.level], num_classes * prod(self.factors))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps of the levels (B, *size, 2^i C) -> logits (B, K, *(image's size / scale))."""
        x = maps[self.level]
        if prod(self.pool) > 1:
            pool = F.avg_pool2d if len(self.pool) == 2 else F.avg_pool3d
            x = pool(x.movedim(-1, 1), self.pool, ceil_mode=True).movedim(1, -1)
        return unfold_voxels(self.head(self.norm(x)), self.factors).movedim(-1, 1)


class AuxiliaryHeads(nn.ModuleList):
    """The heads of deep supervision. Where there are none, weights for them are passed over."""

    def _load_from_state_dict(self, *arguments: Any) -> None:
        if len(self):
            super()._load_from_state_dict(*arguments)


def _values_of_blocks(level: nn.Module, size: Sequence[int]) -> int:
    return sum(cast(MLLABlock, block).compute_conv_feature_map_size(size) for block in level.children())


def _plan_strides(strides: Sequence[int | Sequence[int]], n_axes: int) -> list[tuple[int, ...]]:
    stages = [(stride,) * n_axes if isinstance(stride, int) else tuple(stride) for stride in strides]
    if len(stages) < 2 or any(len(stage) != n_axes for stage in stages):
        raise ValueError(f"strides is {strides}, expected {n_axes} numbers for each of at least 2 stages")
    if set(stages[0]) != {1} or not {step for stage in stages for step in stage} <= {1, 2}:
        raise ValueError(
            f"strides is {strides}, expected 1 or 2 everywhere and 1 in the first stage, as in nnU-Net's plans"
        )
    return stages


def _check_sizes(
    embed_dim: int, depths: Sequence[int], decoder_depths: Sequence[int], num_heads: Sequence[int], drop_path: float
) -> None:
    if not are_positive([embed_dim]) or embed_dim % 2:
        raise ValueError(f"embed_dim is {embed_dim}, expected a positive even number")
    for name, numbers, length in (
        ("depths", depths, N_LEVELS),
        ("decoder_depths", decoder_depths, N_LEVELS - 1),
        ("num_heads", num_heads, N_LEVELS),
    ):
        if not are_positive(numbers, length):
            raise ValueError(f"{name} is {numbers}, expected {length} positive numbers, one per level")
    for decoder, encoder in zip(decoder_depths, depths[-2::-1], strict=True):
        if decoder > encoder:
            raise ValueError(
                f"decoder_depths {tuple(decoder_depths)} (levels 2, 1, 0) must not exceed the encoder's depths "
                f"{tuple(depths)} (levels 0 to 3): make the encoder deeper or the decoder shallower"
            )
    if not 0 <= drop_path < 1:
        raise ValueError(f"drop_path is {drop_path}, expected a probability below 1")
