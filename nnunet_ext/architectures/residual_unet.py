"""The residual U-Net under LKM-UNet and U-Mamba: residual encoder, one token mixer per encoder stage, residual decoder.

The convolutions are nnU-Net's residual encoder U-Net without its strided stem. LKM-UNet without its Mamba layers is
exactly this network, which makes it the control of the ablation.
"""

from typing import Any

from torch import nn

from nnunet_ext.architectures.unet import StageShape, UNet
from nnunet_ext.blocks.residual import ConvSpec, ResidualBlock, ResidualStage


def residual_stage(spec: ConvSpec, shape: StageShape) -> ResidualStage:
    """The residual blocks of one stage; the plan's numbers of convolutions or blocks both count blocks."""
    return ResidualStage(
        spec, shape.n_blocks, shape.input_channels, shape.output_channels, shape.kernel_size, shape.stride
    )


class ResidualUNet(UNet):
    """Residual U-Net in 2D or 3D.

    Args:
        *unet, **unet_options: the arguments of `UNet`, which are nnU-Net's.

    Raises:
        ValueError: as `UNet`.
    """

    def __init__(self, *unet: Any, **unet_options: Any):
        super().__init__(*unet, encoder_stage=residual_stage, decoder_stage=residual_stage, **unet_options)

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """He initialisation of convolutions, and residual branches that start at zero; for `network.apply`."""
        UNet.initialize(module)
        if isinstance(module, ResidualBlock):
            for name, parameter in module.conv2.named_parameters():
                if name.startswith("norm."):
                    nn.init.zeros_(parameter)
