"""The networks, one file per family."""

from nnunet_ext.architectures.lkm_unet import LKMUNet

__all__ = ["LKMUNet"]
