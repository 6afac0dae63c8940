"""The demo's trainers: the user's trainer and nnU-Net's own with a short schedule, nothing else changed.

nnU-Net's command line has no option for the number of epochs, so the demo writes subclasses into its own folder and
names that folder in `nnUNet_extTrainer` for the commands that it starts.
"""

import os
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from nnunet_ext import _startup
from nnunet_ext.demo.errors import DemoError
from nnunet_ext.files import write_text

STOCK = "nnUNetTrainer"
FILE = "nnunet_ext_demo_trainers.py"
PARAMETERS = "Demo: network parameters: "
"""What the trainers print before the number of the network's parameters."""


@dataclass(frozen=True)
class Budget:
    """How long each network trains."""

    epochs: int
    iterations: int
    """Training batches per epoch."""
    validation_iterations: int
    seed: int = 0
    """Of weights, sampling and augmentation; with data workers in other processes only of the weights."""


HEADER = '''"""Written by `nnunet-ext demo`: trainers with its short schedule."""

import random

import numpy
import torch
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name


def set_seeds(seed):
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
'''

TRAINER = """

class {name}(recursive_find_trainer_class_by_name("{base}")):
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = {epochs}
        self.num_iterations_per_epoch = {iterations}
        self.num_val_iterations_per_epoch = {validation_iterations}

    def initialize(self):
        set_seeds({seed})
        super().initialize()

    def get_dataloaders(self):
        # Once more, so that networks of any size see the same patches.
        set_seeds({seed})
        return super().get_dataloaders()

    def on_train_start(self):
        super().on_train_start()
        self.print_to_log_file("{parameters}" + str(sum(p.numel() for p in self.network.parameters())))
"""

NO_MIRRORING = """
    def perform_actual_validation(self, save_probabilities=False):
        self.inference_allowed_mirroring_axes = None
        super().perform_actual_validation(save_probabilities)
"""


def demo_name(trainer: str) -> str:
    """The name of the trainer's short version."""
    return f"{trainer}_demo"


def write(folder: Path, trainers: list[str], budget: Budget, mirroring: bool) -> None:
    """Write the short versions of `trainers` into `folder`; `mirroring` is that of the fold's validation."""
    folder.mkdir(parents=True, exist_ok=True)
    classes = (
        TRAINER.format(
            name=demo_name(trainer),
            base=trainer,
            epochs=budget.epochs,
            iterations=budget.iterations,
            validation_iterations=budget.validation_iterations,
            seed=budget.seed,
            parameters=PARAMETERS,
        )
        + ("" if mirroring else NO_MIRRORING)
        for trainer in trainers
    )
    write_text(folder / FILE, HEADER + "".join(classes))


def check(trainer: str) -> None:
    """DemoError if nnU-Net finds no trainer of this name, or one that cannot be imported."""
    if not trainer.isidentifier():
        raise DemoError(f"{trainer!r} is not the name of a trainer; `nnunet-ext list` shows ours.")
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    try:
        # nnU-Net tells where it looked, and the packages that it imports warn about each other.
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            recursive_find_trainer_class_by_name(trainer)
    except (RuntimeError, AssertionError) as error:
        raise DemoError(f"nnU-Net finds no trainer called {trainer}; `nnunet-ext list` shows ours.") from error
    except ImportError as error:
        raise DemoError(f"The trainer {trainer} cannot be imported: {error}.") from error


def search_path(folder: Path) -> str:
    """The value of `nnUNet_extTrainer` with `folder` before what is there."""
    entries = [entry for entry in os.environ.get(_startup.VARIABLE, "").split(os.pathsep) if entry]
    return os.pathsep.join([str(folder), *entries])
