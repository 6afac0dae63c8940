"""MLLA-UNet in its three sizes under nnU-Net's standard protocol, and with its authors' recipe.

2D as published, 3D our own extension. As published there is no deep supervision. Other than published, training starts
from random weights, unless `NNUNET_EXT_MLLA_IMAGENET` names MLLA's ImageNet weights: a file, or `https://...#sha256=...`.
They start a new 2D training (see `nnunet_ext.imagenet`); `--c` and `-pretrained_weights` win over them, and neither
inference nor continuing needs the file.
"""

import os
from math import cos, pi
from typing import ClassVar

import torch
import torch.distributed as dist

from nnunet_ext import imagenet
from nnunet_ext.architectures.mlla_unet import SIZES

from .base import ExtTrainer, add_short_variants
from .schedules import EpochSchedule


class nnUNetTrainerMLLAUNet(ExtTrainer):
    """MLLA-UNet of size T, the authors' default."""

    network_class = "nnunet_ext.architectures.MLLAUNet"
    network_options: ClassVar = SIZES["T"]
    deep_supervision = False

    def on_train_start(self) -> None:
        """Load ImageNet weights into a network that nothing else was loaded into, if they are asked for."""
        source = os.environ.get(imagenet.VARIABLE)
        if source and self.was_initialized:  # by load_checkpoint, or for -pretrained_weights
            self.print_to_log_file(f"{imagenet.VARIABLE} is passed over: this training starts from other weights.")
        elif source:
            self.initialize()
            self._load_imagenet(source)
        super().on_train_start()

    def _load_imagenet(self, source: str) -> None:
        imagenet.check_network(self.bare_network)
        if self.is_ddp and self.local_rank > 0:
            dist.barrier()  # until rank 0 has downloaded it
        file = imagenet.fetch(source)
        if self.is_ddp and self.local_rank == 0:
            dist.barrier()
        self.print_to_log_file(imagenet.load(self.bare_network, file))


class nnUNetTrainerMLLAUNetS(nnUNetTrainerMLLAUNet):
    """MLLA-UNet of size S: deeper."""

    network_options: ClassVar = SIZES["S"]


class nnUNetTrainerMLLAUNetB(nnUNetTrainerMLLAUNet):
    """MLLA-UNet of size B: deeper and wider."""

    network_options: ClassVar = SIZES["B"]


class nnUNetTrainerMLLAUNetReleased(nnUNetTrainerMLLAUNet):
    """Size T with the optimiser recipe of the authors' released code; what their paper states is not known.

    From code, the script for WORD, the only complete one: AdamW, learning rate 0.002 for batches of 24 and in
    proportion for others, weight decay 0.01 on all parameters, cosine decay per epoch to 1e-6, no warm-up, 30,000 steps
    (nnU-Net's epochs have 250). Their other scripts have other rates, from 1e-4. They start from MLLA's ImageNet
    weights; so does this one where `NNUNET_EXT_MLLA_IMAGENET` names them.

    nnU-Net's, not theirs: the plan's patch and batch size (theirs: slices resized to 224 x 224, batches of 48),
    augmentation, Dice and cross-entropy in equal parts but no Dice of the background, mixed precision, clipped
    gradients. Theirs, not followed: from the ninth epoch on the network stays in evaluation mode, which freezes batch
    normalisation and stops drop path.
    """

    epochs = 120

    def configure_optimizers(self) -> tuple[torch.optim.AdamW, EpochSchedule]:
        """AdamW and cosine decay."""
        self.initial_lr, self.weight_decay = 0.002 * self.configuration_manager.batch_size / 24, 0.01
        optimizer = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay)
        return optimizer, EpochSchedule(optimizer, self.learning_rate)

    def learning_rate(self, epoch: int) -> float:
        """Half a cosine from `initial_lr` to 1e-6."""
        lowest = 1e-6
        return lowest + (self.initial_lr - lowest) * (1 + cos(pi * epoch / self.num_epochs)) / 2


add_short_variants(
    [nnUNetTrainerMLLAUNet, nnUNetTrainerMLLAUNetS, nnUNetTrainerMLLAUNetB, nnUNetTrainerMLLAUNetReleased], globals()
)
