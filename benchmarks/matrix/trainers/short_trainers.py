"""Every network with a budget for which nnU-Net has no option, as a user would write it for nnUNet_extTrainer.

nnUNetTrainerLKMUNet_5epochs_40iterations and so on. Beside the length they differ from the trainers that they are made
of in three things: seeds, no mirroring, and one thread where there is no GPU.
"""

import random

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext import trainers
from nnunet_ext.catalogue import ENTRIES

BUDGETS = ((5, 40), (100, 100))
"""Epochs, and iterations of each."""
VALIDATION_ITERATIONS = 5
SEED = 0


class Short:
    """The short budget; a subclass sets `length`."""

    length = BUDGETS[0]

    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):  # noqa: B008 - nnU-Net's
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch = self.length
        self.num_val_iterations_per_epoch = VALIDATION_ITERATIONS

    def initialize(self):
        """nnU-Net's initialisation with the same random numbers every time."""
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # nnU-Net takes all cores, for each of the trainings side by side
        set_seeds()
        super().initialize()

    def get_dataloaders(self):
        """nnU-Net's batches. Without data workers, networks of any size see the same patches."""
        set_seeds()
        return super().get_dataloaders()

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self):  # noqa: N802 - nnU-Net's
        """nnU-Net's augmentation without mirroring: so short a training cannot tell left from right after it."""
        rotation, dummy_2d, initial_patch_size, _ = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = None
        return rotation, dummy_2d, initial_patch_size, None


def set_seeds():
    """Seed all generators that nnU-Net draws from."""
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 - nnU-Net draws from this one
    torch.manual_seed(SEED)


for epochs, iterations in BUDGETS:
    for trainer in (nnUNetTrainer, *(getattr(trainers, entry.trainer) for entry in ENTRIES)):
        name = f"{trainer.__name__}_{epochs}epochs_{iterations}iterations"
        globals()[name] = type(name, (Short, trainer), {"length": (epochs, iterations), "__module__": __name__})
