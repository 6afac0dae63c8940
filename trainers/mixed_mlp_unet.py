"""Mixed-MLP MM-UNet (arXiv 2408.08600) under nnU-Net's standard protocol, and with its paper's recipe."""

from typing import ClassVar

import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from torch import nn

from .base import ExtTrainer, add_short_variants
from .schedules import EpochSchedule

WARMUP_EPOCHS = 5


class nnUNetTrainerMixedMLPUNet(ExtTrainer):
    """A U-Net with local token mixing at several scales, driven by the plan, with nnU-Net's recipe."""

    network_class = "nnunet_ext.architectures.MixedMLPUNet"
    network_options: ClassVar = {"token_mixing": "local"}  # a plans file may choose what is inferred


class nnUNetTrainerMixedMLPUNetPaper(nnUNetTrainerMixedMLPUNet):
    """The same network with the paper's recipe, as far as it is known.

    Known: SGD, cross-entropy, a schedule, 150 epochs. Inferred from UTNet's public trainer, which shares SGD and the
    epochs: learning rate 0.05, momentum 0.9, weight decay 1e-4, 5 epochs of warm-up, then polynomial decay with
    exponent 0.9. Ours: the warm-up is linear; regions have binary cross-entropy; patches, augmentation and epochs of
    250 steps are nnU-Net's.
    """

    deep_supervision = False
    epochs = 150

    def _build_loss(self) -> nn.Module:
        # nnU-Net's losses without their Dice: they know regions and the ignore label.
        if self.label_manager.has_regions:
            ignores = self.label_manager.ignore_label is not None
            regions: nn.Module = DC_and_BCE_loss({}, {}, weight_ce=1, weight_dice=0, use_ignore_label=ignores)
            return regions
        labels: nn.Module = DC_and_CE_loss(
            {}, {}, weight_ce=1, weight_dice=0, ignore_label=self.label_manager.ignore_label
        )
        return labels

    def configure_optimizers(self) -> tuple[torch.optim.SGD, EpochSchedule]:
        """SGD, and the schedule that starts with a warm-up."""
        self.initial_lr, self.weight_decay = 0.05, 1e-4
        optimizer = torch.optim.SGD(
            self.network.parameters(), self.initial_lr, momentum=0.9, weight_decay=self.weight_decay
        )
        return optimizer, EpochSchedule(optimizer, self.learning_rate)

    def learning_rate(self, epoch: int) -> float:
        """Grows linearly for `WARMUP_EPOCHS` epochs, then decays polynomially."""
        if epoch < WARMUP_EPOCHS:
            return self.initial_lr * (epoch + 1) / WARMUP_EPOCHS
        return self.initial_lr * (1 - epoch / self.num_epochs) ** 0.9


add_short_variants([nnUNetTrainerMixedMLPUNet, nnUNetTrainerMixedMLPUNetPaper], globals())
