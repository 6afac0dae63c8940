"""MLLA-UNet in its three sizes under nnU-Net's standard protocol; 2D as published, 3D our own extension.

As published there is no deep supervision; other than published, nothing is pre-trained. The recipes of the authors'
scripts (AdamW, cosine decay, slices resized to 224 x 224) differ from data set to data set and are not offered.
"""

from typing import ClassVar

from nnunet_ext.architectures.mlla_unet import SIZES

from .base import ExtTrainer, add_short_variants


class nnUNetTrainerMLLAUNet(ExtTrainer):
    """MLLA-UNet of size T, the authors' default."""

    network_class = "nnunet_ext.architectures.MLLAUNet"
    network_options: ClassVar = SIZES["T"]
    deep_supervision = False


class nnUNetTrainerMLLAUNetS(nnUNetTrainerMLLAUNet):
    """MLLA-UNet of size S: deeper."""

    network_options: ClassVar = SIZES["S"]


class nnUNetTrainerMLLAUNetB(nnUNetTrainerMLLAUNet):
    """MLLA-UNet of size B: deeper and wider."""

    network_options: ClassVar = SIZES["B"]


add_short_variants([nnUNetTrainerMLLAUNet, nnUNetTrainerMLLAUNetS, nnUNetTrainerMLLAUNetB], globals())
