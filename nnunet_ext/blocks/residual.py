"""Residual convolution blocks (ResNet-D: He et al., "Bag of tricks", CVPR 2019), as nnU-Net's residual U-Nets use them.

They compute what `BasicBlockD` of dynamic_network_architectures computes and name parameters alike, but hold each
parameter once in the state dict and pickle (the library's block keeps lambdas), so they travel to spawned workers.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, cast

from dynamic_network_architectures.building_blocks.helper import get_matching_pool_op
from torch import Tensor, nn

Size = Sequence[int]


@dataclass(frozen=True)
class ConvSpec:
    """The operators that every convolution of a network shares; 2D and 3D differ in nothing else."""

    conv_op: type[nn.Module]
    conv_bias: bool = False
    norm_op: type[nn.Module] | None = None
    norm_op_kwargs: dict[str, Any] = field(default_factory=dict)
    dropout_op: type[nn.Module] | None = None
    dropout_op_kwargs: dict[str, Any] = field(default_factory=dict)
    nonlin: type[nn.Module] | None = None
    nonlin_kwargs: dict[str, Any] = field(default_factory=dict)

    def nonlinearity(self) -> nn.Module:
        """The nonlinearity, or nothing."""
        return nn.Identity() if self.nonlin is None else self.nonlin(**self.nonlin_kwargs)


class ConvNorm(nn.Sequential):
    """Convolution ("same" padding) and normalisation; with `nonlinear` also dropout and the nonlinearity."""

    def __init__(
        self,
        spec: ConvSpec,
        input_channels: int,
        output_channels: int,
        kernel_size: Size,
        stride: Size,
        nonlinear: bool,
        bias: bool | None = None,
    ):
        self.output_channels = output_channels
        self.stride = tuple(stride)
        padding = [(k - 1) // 2 for k in kernel_size]
        bias = spec.conv_bias if bias is None else bias
        conv = spec.conv_op(
            input_channels, output_channels, tuple(kernel_size), self.stride, tuple(padding), 1, bias=bias
        )
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
        if nonlinear and spec.dropout_op is not None:
            layers["dropout"] = spec.dropout_op(**spec.dropout_op_kwargs)
        if spec.norm_op is not None:
            layers["norm"] = spec.norm_op(output_channels, **spec.norm_op_kwargs)
        if nonlinear and spec.nonlin is not None:
            layers["nonlin"] = spec.nonlinearity()
        super().__init__(layers)


class ResidualBlock(nn.Module):
    """conv-norm-nonlin, conv-norm, plus the input (average-pooled where strided, projected to other channels)."""

    def __init__(self, spec: ConvSpec, input_channels: int, output_channels: int, kernel_size: Size, stride: Size):
        super().__init__()
        one = [1] * len(stride)
        self.output_channels = output_channels
        self.stride = tuple(stride)
        self.conv1 = ConvNorm(spec, input_channels, output_channels, kernel_size, stride, nonlinear=True)
        self.conv2 = ConvNorm(spec, output_channels, output_channels, kernel_size, one, nonlinear=False)
        self.skip = pooled_skip(spec, input_channels, output_channels, stride)
        self.nonlin2 = spec.nonlinearity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, input_channels, *size) -> (B, output_channels, *(size / stride))."""
        return self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))

    def compute_conv_feature_map_size(self, input_size: Size) -> int:
        """Number of feature map values that the block makes for one image of this size, as nnU-Net counts them."""
        return values(self.output_channels, strided(input_size, self.stride)) * (3 if len(self.skip) else 2)


def pooled_skip(spec: ConvSpec, input_channels: int, output_channels: int, stride: Size) -> nn.Sequential:
    """A residual connection: average pooling where strided, a 1x1 convolution to other channels, else nothing."""
    one = [1] * len(stride)
    skip: list[nn.Module] = []
    if prod(stride) > 1:
        skip.append(get_matching_pool_op(spec.conv_op, pool_type="avg")(tuple(stride), tuple(stride)))
    if input_channels != output_channels:
        skip.append(ConvNorm(spec, input_channels, output_channels, one, one, nonlinear=False, bias=False))
    return nn.Sequential(*skip)


class ResidualStage(nn.Module):
    """`n_blocks` residual blocks; the first one has the stride."""

    def __init__(
        self,
        spec: ConvSpec,
        n_blocks: int,
        input_channels: int,
        output_channels: int,
        kernel_size: Size,
        stride: Size,
    ):
        super().__init__()
        first = ResidualBlock(spec, input_channels, output_channels, kernel_size, stride)
        one = [1] * len(stride)
        rest = [ResidualBlock(spec, output_channels, output_channels, kernel_size, one) for _ in range(n_blocks - 1)]
        self.stride = first.stride
        self.blocks = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """(B, input_channels, *size) -> (B, output_channels, *(size / stride))."""
        return self.blocks(x)

    def compute_conv_feature_map_size(self, input_size: Size) -> int:
        """Number of feature map values that the blocks make for one image of this size."""
        first, *rest = (cast(ResidualBlock, block) for block in self.blocks)
        size = strided(input_size, self.stride)
        total = first.compute_conv_feature_map_size(input_size)
        return total + sum(block.compute_conv_feature_map_size(size) for block in rest)


def strided(size: Size, stride: Size) -> tuple[int, ...]:
    """Size of a feature map after a strided convolution."""
    return tuple(s // step for s, step in zip(size, stride, strict=True))


def values(channels: int, size: Size) -> int:
    """Number of values in a feature map."""
    return channels * prod(size)
