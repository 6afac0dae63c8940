"""Stem, down- and up-sampling of MLLA-UNet (arXiv 2410.23738, "EDSM" and "EUSM"), in 2D and 3D, any stride per axis.

The sampling blocks widen the channels four times, sample depthwise, and narrow them again. As in the authors' code,
EUSM is not quite EDSM mirrored: after its transposed convolution stands no activation and it has no bias, but it ends
in a LayerNorm. Maps are (B, C, *size) in the stem and (B, *size, C) elsewhere.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from dynamic_network_architectures.building_blocks.helper import get_matching_convtransp
from torch import Tensor, nn

from nnunet_ext.blocks.channels_last import convolve
from nnunet_ext.blocks.residual import ConvNorm, ConvSpec, strided, values

EXPANSION = 4


class Stem(nn.Module):
    """Two strided convolutions with a residual block between them.

    Args:
        spec: operators; convolutions have no bias.
        input_channels: channels of the image.
        channels: channels C of the output, an even number.
        strides: of the two convolutions, per axis.
    """

    def __init__(self, spec: ConvSpec, input_channels: int, channels: int, strides: Sequence[Sequence[int]]):
        super().__init__()
        half, wide = channels // 2, EXPANSION * channels
        self.widths = (half, wide, channels)
        self.strides = strides
        one = [1] * len(strides[0])
        three = [3] * len(strides[0])
        self.conv1 = ConvNorm(spec, input_channels, half, three, strides[0], nonlinear=True)
        self.conv2 = nn.Sequential(
            ConvNorm(spec, half, half, three, one, nonlinear=True),
            ConvNorm(spec, half, half, three, one, nonlinear=False),
        )
        self.conv3 = nn.Sequential(
            ConvNorm(spec, half, wide, three, strides[1], nonlinear=True),
            ConvNorm(spec, wide, channels, one, one, nonlinear=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, input_channels, *size) -> (B, C, *(size / strides))."""
        x = self.conv1(x)  # (B, C / 2, *)
        return self.conv3(x + self.conv2(x))

    def compute_conv_feature_map_size(self, size: Sequence[int]) -> int:
        """Number of feature map values for an image of this size."""
        half, wide, channels = self.widths
        first = strided(size, self.strides[0])
        return values(3 * half, first) + values(wide + channels, strided(first, self.strides[1]))


class EfficientDownsampling(nn.Module):
    """EDSM: (B, *size, C) -> (B, *(size / stride), 2 C); the strided depthwise convolution has 8 C channels."""

    def __init__(self, spec: ConvSpec, channels: int, stride: Sequence[int]):
        super().__init__()
        wide = EXPANSION * 2 * channels
        self.widths = (wide, 2 * channels)
        self.stride = tuple(stride)
        one = [1] * len(stride)
        plain = replace(spec, norm_op=None)
        self.expand = ConvNorm(plain, channels, wide, one, one, nonlinear=True, bias=True)
        self.sample = spec.conv_op(wide, wide, 3, self.stride, padding=1, groups=wide)
        self.nonlin = spec.nonlinearity()
        self.reduce = ConvNorm(spec, wide, 2 * channels, one, one, nonlinear=False, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *size, C) -> (B, *(size / stride), 2 C)."""
        return convolve(self.reduce, self.nonlin(convolve(self.sample, convolve(self.expand, x))))

    def compute_conv_feature_map_size(self, size: Sequence[int]) -> int:
        """Number of feature map values for a map of this size."""
        wide, channels = self.widths
        return values(wide, size) + values(wide + channels, strided(size, self.stride))


class EfficientUpsampling(nn.Module):
    """EUSM: (B, *size, C) -> (B, *(size * stride), C / 2); the transposed depthwise convolution has 4 C channels."""

    def __init__(self, spec: ConvSpec, channels: int, stride: Sequence[int]):
        super().__init__()
        wide = EXPANSION * channels
        self.widths = (wide, channels // 2)
        self.stride = tuple(stride)
        one = [1] * len(stride)
        plain = replace(spec, norm_op=None)
        self.expand = ConvNorm(plain, channels, wide, one, one, nonlinear=True, bias=True)
        # With this output padding the map is exactly `stride` times as large.
        self.sample = get_matching_convtransp(conv_op=spec.conv_op)(
            wide,
            wide,
            3,
            self.stride,
            padding=1,
            output_padding=tuple(step - 1 for step in self.stride),
            groups=wide,
            bias=False,
        )
        self.reduce = ConvNorm(spec, wide, channels // 2, one, one, nonlinear=False, bias=True)
        self.norm = nn.LayerNorm(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *size, C) -> (B, *(size * stride), C / 2)."""
        return self.norm(convolve(self.reduce, convolve(self.sample, convolve(self.expand, x))))

    def compute_conv_feature_map_size(self, size: Sequence[int]) -> int:
        """Number of feature map values for a map of this size."""
        wide, channels = self.widths
        return values(wide, size) + values(wide + channels, size) * prod(self.stride)
