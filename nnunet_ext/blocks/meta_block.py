"""The meta block of Meta Mamba UNet (arXiv 2503.17540): two convolutions and a MetaSSM, in one of five arrangements."""

from collections.abc import Sequence
from math import prod
from typing import Literal

from torch import Tensor, nn

from nnunet_ext.blocks.meta_ssm import MetaSSM
from nnunet_ext.blocks.residual import ConvNorm, ConvSpec, pooled_skip, strided, values

Arrangement = Literal["conv_conv_ssm_in_res", "cnn", "umamba", "ssm", "ssm_in_res"]
SkipProjection = Literal["conv1x1", "avgpool"]


class MetaBlock(nn.Module):
    """Convolutions F, MetaSSM M and skip connection S of x, and the nonlinearity a, arranged in one of five ways.

    | arrangement | output |
    |---|---|
    | "conv_conv_ssm_in_res" | a(S(x) + M(F(x))), the paper's winner |
    | "cnn" | a(S(x) + F(x)) |
    | "umamba" | M(a(S(x) + F(x))) |
    | "ssm_in_res" | a(S(x) + M(S(x))) |
    | "ssm" | M(S(x)) |

    Args:
        spec: the operators.
        input_channels, output_channels, kernel_size, stride: of the first convolution.
        arrangement: see above.
        ssm: the MetaSSM, None for "cnn".
        post_act: convolution, norm, nonlinearity; False: norm, nonlinearity, convolution, and no a.
        skip_proj: S where channels or size change: "conv1x1", a strided 1x1 convolution with norm; "avgpool", average
            pooling and, for other channels, a 1x1 convolution with norm.

    Raises:
        ValueError: for post_act=False without a normalisation.
    """

    def __init__(
        self,
        spec: ConvSpec,
        input_channels: int,
        output_channels: int,
        kernel_size: Sequence[int],
        stride: Sequence[int],
        arrangement: Arrangement = "cnn",
        ssm: MetaSSM | None = None,
        post_act: bool = True,
        skip_proj: SkipProjection = "conv1x1",
    ):
        super().__init__()
        one = [1] * len(stride)
        self.output_channels = output_channels
        self.stride = tuple(stride)
        self.arrangement = arrangement
        self.convs = nn.Sequential()
        if arrangement not in ("ssm", "ssm_in_res"):
            make = _post_activated if post_act else _pre_activated
            self.convs.append(make(spec, input_channels, output_channels, kernel_size, stride))
            self.convs.append(make(spec, output_channels, output_channels, kernel_size, one))
        self.ssm = ssm
        if skip_proj == "avgpool":
            self.skip = pooled_skip(spec, input_channels, output_channels, stride)
        else:
            self.skip = nn.Sequential()
            if prod(stride) > 1 or input_channels != output_channels:
                self.skip.append(
                    ConvNorm(spec, input_channels, output_channels, one, stride, nonlinear=False, bias=False)
                )
        self.nonlin = spec.nonlinearity() if post_act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, input_channels, *size) -> (B, output_channels, *(size / stride))."""
        skip = self.skip(x)
        if self.ssm is None:
            return self.nonlin(skip + self.convs(x))
        if self.arrangement == "ssm":
            return self.ssm(skip)
        if self.arrangement == "ssm_in_res":
            return self.nonlin(skip + self.ssm(skip))
        if self.arrangement == "umamba":
            return self.ssm(self.nonlin(skip + self.convs(x)))
        return self.nonlin(skip + self.ssm(self.convs(x)))

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Number of feature map values that the block makes for one image of this size."""
        size = strided(input_size, self.stride)
        maps = len(self.convs) + (1 if len(self.skip) else 0)
        total = values(self.output_channels, size) * maps
        return total if self.ssm is None else total + self.ssm.compute_conv_feature_map_size(size)


class MetaStage(nn.Sequential):
    """Meta blocks in a row; the first one has the stride."""

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Number of feature map values that the blocks make for one image of this size."""
        total = 0
        size = tuple(input_size)
        for block in self:
            assert isinstance(block, MetaBlock)
            total += block.compute_conv_feature_map_size(size)
            size = strided(size, block.stride)
        return total


def _post_activated(
    spec: ConvSpec, input_channels: int, output_channels: int, kernel_size: Sequence[int], stride: Sequence[int]
) -> nn.Module:
    return ConvNorm(spec, input_channels, output_channels, kernel_size, stride, nonlinear=True)


def _pre_activated(
    spec: ConvSpec, input_channels: int, output_channels: int, kernel_size: Sequence[int], stride: Sequence[int]
) -> nn.Module:
    if spec.norm_op is None:
        raise ValueError("post_act=False needs a normalisation: give norm_op, or leave post_act=True")
    padding = tuple((k - 1) // 2 for k in kernel_size)
    layers = nn.Sequential(spec.norm_op(input_channels, **spec.norm_op_kwargs), spec.nonlinearity())
    if spec.dropout_op is not None:
        layers.append(spec.dropout_op(**spec.dropout_op_kwargs))
    layers.append(
        spec.conv_op(
            input_channels, output_channels, tuple(kernel_size), tuple(stride), padding, 1, bias=spec.conv_bias
        )
    )
    return layers
