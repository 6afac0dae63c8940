"""The networks, one file per family."""

from nnunet_ext.architectures.lkm_unet import LKMUNet
from nnunet_ext.architectures.meta_mamba_unet import MetaMambaUNet
from nnunet_ext.architectures.mixed_mlp_unet import MixedMLPUNet
from nnunet_ext.architectures.mlla_unet import MLLAUNet
from nnunet_ext.architectures.u_mamba import UMambaBot

__all__ = ["LKMUNet", "MLLAUNet", "MetaMambaUNet", "MixedMLPUNet", "UMambaBot"]
