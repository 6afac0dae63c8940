"""The U-Net that our networks share: an encoder with one token mixer per stage, and a decoder with a head per level.

What its stages are made of is given by the network: `encoder_stage` and `decoder_stage` build them. A mixer
(`nn.Identity` by default) follows the convolutions of each encoder stage, and its output is both the skip connection
and the next stage's input.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol, cast, runtime_checkable

import torch
from dynamic_network_architectures.building_blocks.helper import get_matching_convtransp
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn

from nnunet_ext.architectures.deep_supervision import Switchable
from nnunet_ext.architectures.options import are_positive, check_image, check_operators, check_positive, check_size
from nnunet_ext.architectures.topology import Strides, downsampling_factors, map_sizes
from nnunet_ext.blocks.residual import ConvNorm, ConvSpec, values

PerStage = int | Sequence[int]
PerAxis = int | Sequence[int]


@runtime_checkable
class Mixer(Protocol):
    """A token mixer of an encoder stage, a module from feature map to feature map of the same shape."""

    def compute_conv_feature_map_size(self, input_size: Sequence[int], /) -> int:
        """Number of values that it keeps for one feature map of this size."""


class Stage(Protocol):
    """The convolutions of one stage."""

    def compute_conv_feature_map_size(self, input_size: Sequence[int], /) -> int:
        """Number of values that it keeps for one input of this size."""


@dataclass(frozen=True)
class StageShape:
    """What a stage's builder is told; `stage` counts resolutions, 0 the highest and `n_stages` - 1 the bottleneck.

    `n_blocks` is the plan's n_conv_per_stage or n_blocks_per_stage (n_conv_per_stage_decoder in the decoder), and
    `counts_blocks` whether the plan counts residual blocks. `downsampling` is the factor between image and stage.
    """

    stage: int
    n_stages: int
    n_blocks: int
    counts_blocks: bool
    input_channels: int
    output_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    downsampling: tuple[int, ...]


StageBuilder = Callable[[ConvSpec, StageShape], nn.Module]


class UNet(nn.Module):
    """U-Net in 2D or 3D, with nnU-Net's argument names; one argument of each kind per stage.

    Args:
        input_channels: channels of the image, in a cascade with the one-hot labels of the previous stage.
        n_stages: resolution stages, bottleneck included; at least 2.
        features_per_stage: channels of each stage.
        conv_op: nn.Conv2d or nn.Conv3d.
        kernel_sizes: kernel of each stage, per axis.
        strides: stride of each stage, per axis; the first one is 1 in nnU-Net's plans.
        num_classes: output channels (labels or regions).
        n_conv_per_stage_decoder: convolutions or blocks of each decoder stage, bottleneck upwards.
        n_conv_per_stage: convolutions or blocks of each encoder stage, as nnU-Net's standard plans call them.
        n_blocks_per_stage: the same, as nnU-Net's residual encoder plans call them. Give one of the two.
        conv_bias, norm_op, norm_op_kwargs, dropout_op, dropout_op_kwargs, nonlin, nonlin_kwargs: operators.
        deep_supervision: return the logits of every decoder stage, highest resolution first.
        encoder_stage, decoder_stage: build the convolutions of one stage.
        stem: whether a convolution precedes the first stage.
        auxiliary_heads: False leaves out the heads that only deep supervision uses.
        upsampling_bias: bias of the transposed convolutions, None: `conv_bias`.

    Raises:
        ValueError: for fewer than two stages, impossible values, or arguments that contradict each other.
    """

    def __init__(
        self,
        input_channels: int,
        n_stages: int,
        features_per_stage: PerStage,
        conv_op: type[nn.Module],
        kernel_sizes: PerAxis | Sequence[PerAxis],
        strides: PerAxis | Sequence[PerAxis],
        num_classes: int,
        n_conv_per_stage_decoder: PerStage,
        n_conv_per_stage: PerStage | None = None,
        n_blocks_per_stage: PerStage | None = None,
        conv_bias: bool = False,
        norm_op: type[nn.Module] | None = None,
        norm_op_kwargs: dict[str, Any] | None = None,
        dropout_op: type[nn.Module] | None = None,
        dropout_op_kwargs: dict[str, Any] | None = None,
        nonlin: type[nn.Module] | None = None,
        nonlin_kwargs: dict[str, Any] | None = None,
        deep_supervision: bool = False,
        *,
        encoder_stage: StageBuilder,
        decoder_stage: StageBuilder,
        stem: bool = True,
        auxiliary_heads: bool = True,
        upsampling_bias: bool | None = None,
    ):
        super().__init__()
        if n_stages < 2:
            raise ValueError(
                f"n_stages is {n_stages}, but a U-Net needs at least 2 stages: plan a patch of 8 voxels or more"
            )
        blocks = n_conv_per_stage if n_blocks_per_stage is None else n_blocks_per_stage
        if blocks is None or None not in (n_conv_per_stage, n_blocks_per_stage):
            raise ValueError("give either n_conv_per_stage or n_blocks_per_stage, the blocks of each stage")
        n_axes = check_operators(conv_op, norm_op=norm_op, dropout_op=dropout_op)
        check_positive(input_channels=input_channels, num_classes=num_classes)
        spec = ConvSpec(
            conv_op,
            conv_bias,
            norm_op,
            norm_op_kwargs or {},
            dropout_op,
            dropout_op_kwargs or {},
            nonlin,
            nonlin_kwargs or {},
        )
        self.strides = _per_axis("strides", strides, n_stages, n_axes)
        if set(self.strides[0]) != {1}:
            raise ValueError(f"strides is {strides}, expected 1 in the first stage, as in nnU-Net's plans")
        self.features = _per_stage("features_per_stage", features_per_stage, n_stages)
        kernels = _per_axis("kernel_sizes", kernel_sizes, n_stages, n_axes)
        if not all(side % 2 for kernel in kernels for side in kernel):
            raise ValueError(f"kernel_sizes is {kernel_sizes}, expected odd numbers, which keep the size of a map")
        counts_blocks = n_blocks_per_stage is not None
        n_blocks = _per_stage("n_conv_per_stage or n_blocks_per_stage", blocks, n_stages)
        n_blocks_up = _per_stage("n_conv_per_stage_decoder", n_conv_per_stage_decoder, n_stages - 1)[::-1]
        widths = [self.features[0] if stem else input_channels, *self.features]
        factors = downsampling_factors(self.strides)
        down, up = [], []
        for s, (width, stride) in enumerate(zip(self.features, self.strides, strict=True)):
            counted = (n_blocks[s], counts_blocks)
            shape = StageShape(s, n_stages, *counted, widths[s], width, kernels[s], stride, factors[s])
            down.append(encoder_stage(spec, shape))
        for s in range(n_stages - 2, -1, -1):
            width = self.features[s]
            counted = (n_blocks_up[s], counts_blocks)
            shape = StageShape(s, n_stages, *counted, 2 * width, width, kernels[s], (1,) * n_axes, factors[s])
            up.append(decoder_stage(spec, shape))
        first = ConvNorm(spec, input_channels, widths[0], kernels[0], [1] * n_axes, nonlinear=True) if stem else None
        self.encoder = Encoder(first, down, self.strides)
        bias = conv_bias if upsampling_bias is None else upsampling_bias
        self.decoder = Decoder(
            spec, num_classes, self.features, self.strides, up, deep_supervision, auxiliary_heads, bias
        )
        self.apply(self.initialize)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Image (B, input_channels, *size) -> logits (B, num_classes, *size), or one tensor per decoder stage.

        Raises:
            ValueError: for an image of other axes, or whose size is not a multiple of the product of the strides.
        """
        step = self.total_stride
        check_image(x, len(step))
        if any(size % s for size, s in zip(x.shape[2:], step, strict=True)):
            raise ValueError(
                f"the image has size {tuple(x.shape[2:])}, but this network needs multiples of {step}, "
                "the product of its strides: pad the image or crop it"
            )
        return self.decoder(self.encoder(x))

    @property
    def total_stride(self) -> tuple[int, ...]:
        """The product of the strides per axis: the factor between the image and the bottleneck."""
        return downsampling_factors(self.strides)[-1]

    def stage_sizes(self, patch_size: Sequence[int]) -> list[tuple[int, ...]]:
        """Size of the feature map of each encoder stage for a patch."""
        check_size("the patch size", patch_size, len(self.strides[0]))
        return map_sizes(patch_size, self.strides)

    def check_patch_size(self, patch_size: Sequence[int]) -> None:
        """Raise ValueError, with the remedy, if the network cannot be trained on patches of this size."""
        step = self.total_stride
        bottleneck = self.stage_sizes(patch_size)[-1]
        if any(size % s for size, s in zip(patch_size, step, strict=True)):
            raise ValueError(
                f"the patch size {tuple(patch_size)} is not a multiple of {step}, the product of the plan's strides: "
                "change the patch size in the plans file, or plan again"
            )
        if prod(bottleneck) < 2:
            raise ValueError(
                f"the patch size {tuple(patch_size)} leaves one voxel at the bottleneck, which instance normalisation "
                f"cannot train on: use a patch of at least {tuple(2 * s for s in step)}, or a plan with fewer stages"
            )

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Number of feature map values for one patch, nnU-Net's measure of memory."""
        check_size("input_size", input_size, len(self.strides[0]))
        return sum(part.compute_conv_feature_map_size(input_size) for part in (self.encoder, self.decoder))

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """He initialisation of convolutions; for `network.apply`."""
        InitWeights_He(1e-2)(module)


class Encoder(nn.Module):
    """Stem, then convolutions and a token mixer per stage; returns the output of every stage."""

    def __init__(self, stem: ConvNorm | None, stages: Sequence[nn.Module], strides: Strides):
        super().__init__()
        self.strides = strides
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.mixers = nn.ModuleList(nn.Identity() for _ in stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, input_channels, *size) -> feature maps, full resolution first."""
        if self.stem is not None:
            x = self.stem(x)
        outputs = []
        for stage, mixer in zip(self.stages, self.mixers, strict=True):
            x = mixer(stage(x))
            outputs.append(x)
        return outputs

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Number of feature map values of stem, stages and mixers for one patch."""
        total = 0 if self.stem is None else values(self.stem.output_channels, input_size)
        sizes = map_sizes(input_size, self.strides)
        for stage, mixer, before, size in zip(self.stages, self.mixers, [input_size, *sizes], sizes, strict=False):
            total += cast(Stage, stage).compute_conv_feature_map_size(before)
            if isinstance(mixer, Mixer):
                total += mixer.compute_conv_feature_map_size(size)
        return total


class Decoder(Switchable):
    """Transposed convolution, concatenation with the skip, convolutions and a head, per level."""

    def __init__(
        self,
        spec: ConvSpec,
        num_classes: int,
        features: Sequence[int],
        strides: Strides,
        stages: Sequence[nn.Module],
        deep_supervision: bool,
        auxiliary_heads: bool,
        upsampling_bias: bool,
    ):
        super().__init__(deep_supervision, auxiliary_heads)
        self.num_classes = num_classes
        self.skip_features = features[-2::-1]
        self.strides = strides
        upsample = get_matching_convtransp(conv_op=spec.conv_op)
        transpconvs, seg_layers = [], []
        for level, skip in enumerate(self.skip_features):
            below = features[-1 - level]
            stride = strides[-1 - level]
            transpconvs.append(upsample(below, skip, stride, stride, bias=upsampling_bias))
            if auxiliary_heads or level == len(stages) - 1:
                seg_layers.append(spec.conv_op(skip, num_classes, 1, 1, 0, bias=True))
        self.transpconvs = nn.ModuleList(transpconvs)
        self.stages = nn.ModuleList(stages)
        # Heads exist at every level, so that weights trained with deep supervision load strictly without it.
        self.seg_layers = nn.ModuleList(seg_layers)
        if not deep_supervision:
            # Heads that take no part would have no gradient, which distributed training does not allow.
            self.seg_layers[:-1].requires_grad_(False)

    def forward(self, skips: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Feature maps, full resolution first -> logits; with deep supervision a list, highest resolution first."""
        x = skips[-1]
        logits: list[Tensor] = []
        for level, (transpconv, stage) in enumerate(zip(self.transpconvs, self.stages, strict=True)):
            x = stage(torch.cat((transpconv(x), skips[-2 - level]), 1))
            if self.deep_supervision:
                logits.insert(0, self.seg_layers[level](x))
        return logits if self.deep_supervision else self.seg_layers[-1](x)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Number of feature map values for one patch; `input_size` is the size of the image."""
        sizes = map_sizes(input_size, self.strides[:-1])
        total = 0
        for level, (stage, skip, size) in enumerate(zip(self.stages, self.skip_features, sizes[::-1], strict=True)):
            total += cast(Stage, stage).compute_conv_feature_map_size(size) + values(skip, size)
            if self.deep_supervision or level == len(self.stages) - 1:
                total += values(self.num_classes, size)
        return total


def _per_stage(name: str, value: PerStage, n_stages: int) -> list[int]:
    values_ = [value] * n_stages if isinstance(value, int) else list(value)
    if len(values_) != n_stages:
        raise ValueError(f"{name} has {len(values_)} entries, expected {n_stages}, one per stage")
    if not are_positive(values_):
        raise ValueError(f"{name} is {value}, expected numbers of at least 1")
    return values_


def _per_axis(name: str, value: PerAxis | Sequence[PerAxis], n_stages: int, n_axes: int) -> list[tuple[int, ...]]:
    entries = [value] * n_stages if isinstance(value, int) else list(value)
    if len(entries) != n_stages:
        raise ValueError(f"{name} has {len(entries)} entries, expected {n_stages}, one per stage")
    tuples = [(entry,) * n_axes if isinstance(entry, int) else tuple(entry) for entry in entries]
    if not all(are_positive(entry, n_axes) for entry in tuples):
        raise ValueError(f"{name} is {value}, expected {n_axes} numbers of at least 1 per stage, one per axis")
    return tuples
