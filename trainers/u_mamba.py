"""U-Mamba Bot under nnU-Net's standard protocol, which is also its authors' recipe."""

from .base import ExtTrainer, add_short_variants


class nnUNetTrainerUMambaBot(ExtTrainer):
    """One Mamba layer at the bottleneck of a residual U-Net: the Mamba control."""

    network_class = "nnunet_ext.architectures.UMambaBot"


add_short_variants([nnUNetTrainerUMambaBot], globals())
