"""The networks, one file per family."""

from nnunet_ext.architectures.lkm_unet import LKMUNet
from nnunet_ext.architectures.u_mamba import UMambaBot

__all__ = ["LKMUNet", "UMambaBot"]
