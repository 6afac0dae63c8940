"""Mixed-MLP MM-UNet: a U-Net whose blocks end in a multi-scale MLP that mixes the tokens of local blocks.

Paper: Xiao, Zhang, Higashita, Liu, "MM-UNet: A Mixed MLP Architecture for Improved Ophthalmic Image Segmentation",
OMIA at MICCAI 2024, arXiv 2408.08600. No code of its authors is known, and its full text was not at hand: this network
is written from its abstract and from summaries and quotations of it. At least six networks are called MM-UNet;
`MetaMambaUNet` is another.

Known: a 2D U-Net with MMLP modules; what an MMLP is (see `blocks.local_token_mixing`), token mixing without channel
mixing, at several scales of which one is global somewhere; 12.98 million parameters at 256 x 256 pixels; local mixing
is better than global.

From code: nothing of the authors'. The rule which stages have an MMLP is that of UTNet (github.com/yhygao/UTNet), whose
words the paper's own description of its network echoes.

Inferred, therefore options: the rule of UTNet, the module in place of the last convolution at every resolution but the
highest; blocks of 2, 4, 8 and 16 pixels; a two-layer perceptron, shared by a group's channels; norm before, residual
connection around; max-pooling. Where the plan's kernel has one voxel on an axis, so has the block. A stage keeps at
least one convolution, which changes the channels. A residual encoder plan's block counts as two convolutions.

`MixedMLPUNet.from_preset("paper", ...)` has 12,980,923 parameters for 3 channels and 3 classes. This matches the
published count, 12.98 million; hundreds of other configurations do, so it is not known to be the paper's. The
constructor is driven by nnU-Net's plans. In it the norm before the mixing is an instance norm by default, because
nnU-Net's batches are small; the preset has a batch norm.

Ours: 3D, with blocks of 2, 4 and 8 voxels, and deep supervision.

Glossary: MMLP, multi-scale MLP. LTM, local token mixing. s_i, side of the blocks of group i: `block_sizes`. n_i, blocks
per side: `block_counts`. Token, the values of one voxel.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any, Literal, get_args

import torch
from dynamic_network_architectures.building_blocks.helper import get_matching_pool_op
from torch import Tensor, nn

from nnunet_ext.architectures.options import are_positive, check_option, check_size
from nnunet_ext.architectures.unet import StageShape, UNet
from nnunet_ext.blocks.local_token_mixing import MOST_TOKENS, MultiScaleMLP, Perceptron
from nnunet_ext.blocks.residual import ConvNorm, ConvSpec, strided, values

Placement = Literal["utnet", "encoder", "skip", "decoder", "bottleneck"]
Mode = Literal["replace_last_conv", "append"]
Mixing = Literal["local", "global"]
PreNorm = Literal["batch", "instance", "layer"]
Downsampling = Literal["max_pool", "strided_conv"]

BLOCK_SIZES = {2: (2, 4, 8, 16), 3: (2, 4, 8)}


class MixedMLPUNet(UNet):
    """Mixed-MLP MM-UNet in 2D or 3D.

    Args:
        *unet, **unet_options: the arguments of `UNet`, which are nnU-Net's.
        placement: the stages with an MMLP, never that of full resolution: "utnet", all; "encoder" (with the
            bottleneck); "decoder"; "bottleneck"; or "skip", on the skip connections.
        mode: the MMLP stands in the place of the last convolution, or follows it. On skip connections it replaces none.
        block_sizes: sides of the blocks, one per group of channels; None, `BLOCK_SIZES`.
        block_counts: instead, blocks per side of the map; needs `patch_size`, on which the weights then depend.
        token_mixing: "global", the paper's ablation: one block, the whole map; needs `patch_size`.
        patch_size: the size of the images, for these two only. Stages whose blocks would have more than `MOST_TOKENS`
            tokens keep their convolution.
        ltm: "mlp", linear, GELU, linear over the tokens of a block; or "linear".
        ratio: hidden tokens per token of the "mlp".
        share_over_channels: whether a group's channels share their weights.
        pre_norm: norm before the mixing, "batch", "instance" or "layer" (over channels and voxels of an image).
        residual: whether there is a residual connection around the MMLP.
        fuse_1x1: a 1x1 convolution at the end of the MMLP, which the paper does not have.
        downsampling: "max_pool", or the first convolution of a stage has the stride.

    Raises:
        ValueError: for unknown or contradicting options, or if no stage is left that may have an MMLP.

    Example:
        >>> network = MixedMLPUNet.from_preset("paper", input_channels=3, num_classes=3)
        >>> sum(parameter.numel() for parameter in network.parameters())
        12980923
    """

    def __init__(
        self,
        *unet: Any,
        placement: Placement = "utnet",
        mode: Mode = "replace_last_conv",
        block_sizes: Sequence[int] | None = None,
        block_counts: Sequence[int] | None = None,
        token_mixing: Mixing = "local",
        patch_size: Sequence[int] | None = None,
        ltm: Perceptron = "mlp",
        ratio: float = 1.0,
        share_over_channels: bool = True,
        pre_norm: PreNorm = "instance",
        residual: bool = True,
        fuse_1x1: bool = False,
        downsampling: Downsampling = "max_pool",
        **unet_options: Any,
    ):
        check_option("placement", placement, get_args(Placement))
        check_option("mode", mode, get_args(Mode))
        check_option("token_mixing", token_mixing, get_args(Mixing))
        check_option("ltm", ltm, get_args(Perceptron))
        check_option("pre_norm", pre_norm, get_args(PreNorm))
        check_option("downsampling", downsampling, get_args(Downsampling))
        if token_mixing == "global":
            if block_sizes is not None or block_counts is not None:
                raise ValueError("token_mixing='global' has one block: leave out block_sizes and block_counts")
            block_counts = (1,)
        if block_counts is not None and (block_sizes is not None or patch_size is None):
            raise ValueError("blocks per side of the map need patch_size, and no block_sizes")
        if not ratio > 0:
            raise ValueError(f"ratio is {ratio}, expected a positive number")
        for name, numbers in (("block_sizes", block_sizes), ("block_counts", block_counts)):
            if numbers is not None and not are_positive(numbers):
                raise ValueError(f"{name} is {numbers}, expected one positive number per group of channels")

        def blocks(shape: StageShape) -> list[tuple[int, ...]] | None:
            """The blocks of a stage's groups; None: too large for an MMLP."""
            if block_counts is None or patch_size is None:
                sides = block_sizes or BLOCK_SIZES[len(shape.stride)]
                return [tuple(side if kernel > 1 else 1 for kernel in shape.kernel_size) for side in sides]
            check_size("patch_size", patch_size, len(shape.stride))
            size = strided(patch_size, shape.downsampling)
            found = [tuple(-(-length // count) for length in size) for count in block_counts]
            return None if max(map(prod, found)) > MOST_TOKENS else found

        def mixing(spec: ConvSpec, shape: StageShape, chosen: bool) -> MultiScaleMLP | None:
            channels = shape.output_channels
            sides = blocks(shape) if chosen and shape.stage > 0 else None
            if sides is None:
                return None
            fuse = spec.conv_op(channels, channels, 1) if fuse_1x1 else None
            norm = _norm(pre_norm, len(shape.stride))
            return MultiScaleMLP(channels, sides, norm, residual, fuse, ltm, ratio, share_over_channels)

        def build(spec: ConvSpec, shape: StageShape, chosen: bool, n_convs: int, on_skip: bool = False) -> MixedStage:
            mlp = mixing(spec, shape, chosen)
            skip_mlp = mixing(spec, shape, on_skip)
            if mlp is not None and mode == "replace_last_conv":
                n_convs = max(1, n_convs - 1)
            return MixedStage(spec, shape, n_convs, mlp, skip_mlp, downsampling)

        def encoder_stage(spec: ConvSpec, shape: StageShape) -> MixedStage:
            bottleneck = shape.stage == shape.n_stages - 1
            chosen = placement in ("utnet", "encoder") or (placement == "bottleneck" and bottleneck)
            return build(spec, shape, chosen, shape.n_blocks * (2 if shape.counts_blocks else 1))

        def decoder_stage(spec: ConvSpec, shape: StageShape) -> MixedStage:
            return build(spec, shape, placement in ("utnet", "decoder"), shape.n_blocks, placement == "skip")

        super().__init__(*unet, encoder_stage=encoder_stage, decoder_stage=decoder_stage, stem=False, **unet_options)
        self.patch_size = None if block_counts is None or patch_size is None else tuple(patch_size)
        if not any(isinstance(module, MultiScaleMLP) for module in self.modules()):
            raise ValueError(
                f"placement is {placement!r}, but none of this plan's {len(self.strides)} stages may have an MMLP: "
                "use another placement, or smaller blocks"
            )

    @classmethod
    def from_preset(cls, preset: str, input_channels: int, num_classes: int, **options: Any) -> "MixedMLPUNet":
        """The 2D network of a preset; nnU-Net's plans need none, they give the constructor's arguments.

        Args:
            preset: "paper", the network whose number of parameters matches the published one.
            input_channels: channels of the image.
            num_classes: output channels.
            **options: options that differ from the preset.

        Raises:
            ValueError: for another preset.
        """
        check_option("preset", preset, ("paper",))
        paper: dict[str, Any] = {
            "n_stages": 5,
            "features_per_stage": (64, 128, 256, 512, 512),
            "conv_op": nn.Conv2d,
            "kernel_sizes": 3,
            "strides": (1, 2, 2, 2, 2),
            "n_conv_per_stage": 2,
            "n_conv_per_stage_decoder": 2,
            "norm_op": nn.BatchNorm2d,
            "nonlin": nn.ReLU,
            "nonlin_kwargs": {"inplace": True},
            "pre_norm": "batch",
            "upsampling_bias": True,
            "auxiliary_heads": False,
        }
        return cls(input_channels=input_channels, num_classes=num_classes, **{**paper, **options})

    def check_patch_size(self, patch_size: Sequence[int]) -> None:
        """Also raise ValueError if the blocks were made for patches of another size."""
        super().check_patch_size(patch_size)
        if self.patch_size is not None and tuple(patch_size) != self.patch_size:
            raise ValueError(
                f"the patch size is {tuple(patch_size)}, but the network's blocks were made for {self.patch_size}: "
                "give the network patch_size as in the plan"
            )


class MixedStage(nn.Module):
    """Max-pooling, convolutions, MMLP; on a skip connection an MMLP before all."""

    def __init__(
        self,
        spec: ConvSpec,
        shape: StageShape,
        n_convs: int,
        mlp: MultiScaleMLP | None,
        skip_mlp: MultiScaleMLP | None,
        downsampling: Downsampling,
    ):
        super().__init__()
        self.output_channels = shape.output_channels
        self.stride = shape.stride
        one = (1,) * len(shape.stride)
        self.pool: nn.Module = nn.Identity()
        first = shape.stride
        if downsampling == "max_pool" and prod(first) > 1:
            self.pool = get_matching_pool_op(spec.conv_op, pool_type="max")(first, first)
            first = one
        channels, kernel = shape.output_channels, shape.kernel_size
        self.convs = nn.Sequential(
            ConvNorm(spec, shape.input_channels, channels, kernel, first, nonlinear=True),
            *(ConvNorm(spec, channels, channels, kernel, one, nonlinear=True) for _ in range(n_convs - 1)),
        )
        self.mlp = mlp
        self.skip_mlp = skip_mlp

    def forward(self, x: Tensor) -> Tensor:
        """(B, input_channels, *size) -> (B, output_channels, *(size / stride))."""
        if self.skip_mlp is not None:
            upsampled, skip = x.chunk(2, dim=1)  # (B, output_channels, *size) each
            x = torch.cat((upsampled, self.skip_mlp(skip)), 1)
        x = self.convs(self.pool(x))
        return x if self.mlp is None else self.mlp(x)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Number of feature map values that the stage makes for one image of this size."""
        size = strided(input_size, self.stride)
        total = len(self.convs) * values(self.output_channels, size)
        return total + sum(m.compute_conv_feature_map_size(size) for m in (self.mlp, self.skip_mlp) if m is not None)


def _norm(name: PreNorm, n_axes: int) -> Callable[[int], nn.Module]:
    if name == "layer":
        return partial(nn.GroupNorm, 1)
    if name == "batch":
        return nn.BatchNorm2d if n_axes == 2 else nn.BatchNorm3d
    return partial(nn.InstanceNorm2d if n_axes == 2 else nn.InstanceNorm3d, affine=True)
