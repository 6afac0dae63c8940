"""Meta Mamba UNet (arXiv 2503.17540) under nnU-Net's standard protocol, and its control.

The paper trains in nnU-Net with SGD, polynomial decay, cross-entropy and Dice; its learning rate and epochs are not
known. Its one known difference is kept here: deep supervision by the three highest resolutions only.
"""

from typing import Any, ClassVar

from torch import nn

from .base import ExtTrainer, add_short_variants

KNOWN = {"meta_block": "conv_conv_ssm_in_res", "ssm_where": "encoder+bottleneck", "scan": "bi"}
"""What the paper says of the network; a plans file may choose what is inferred."""


class nnUNetTrainerMetaMambaUNet(ExtTrainer):
    """Conv-conv-Mamba inside one residual connection, in encoder and bottleneck, read forwards and backwards."""

    network_class = "nnunet_ext.architectures.MetaMambaUNet"

    network_options: ClassVar = KNOWN

    ds_outputs: ClassVar[int | None] = 3
    """Outputs that deep supervision uses, highest resolution first; None, nnU-Net's: all but the lowest."""

    def _build_loss(self) -> nn.Module:
        loss: Any = super()._build_loss()
        if self.enable_deep_supervision and self.ds_outputs is not None:
            # As in nnU-Net, an output without weight keeps next to nothing where DDP would miss its gradient.
            least = 1e-6 if self.is_ddp and not self._do_i_compile() else 0.0
            n_outputs = len(self._get_deep_supervision_scales())
            weights = [2.0**-i if i < self.ds_outputs else least for i in range(n_outputs)]
            loss.weight_factors = tuple(weight / sum(weights) for weight in weights)
        return loss


class nnUNetTrainerMetaMambaUNetNoMamba(nnUNetTrainerMetaMambaUNet):
    """The same network and deep supervision without Mamba: the control that shows what Mamba adds."""

    network_options: ClassVar = KNOWN | {"meta_block": "cnn"}


add_short_variants([nnUNetTrainerMetaMambaUNet, nnUNetTrainerMetaMambaUNetNoMamba], globals())
