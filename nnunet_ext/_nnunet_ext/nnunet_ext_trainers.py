"""The one module that nnU-Net's trainer look-up meets: it imports only the trainer that was asked for.

nnU-Net imports every module of an external folder and forgets those modules afterwards. The trainers therefore live
in the ordinary package `nnunet_ext.trainers`, which stays imported, pickles and compiles, and cannot break the
look-up of anybody else's trainer.
"""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """The trainer class called `name`; AttributeError, which nnU-Net expects, for a name that is not ours."""
    if not name.startswith("nnUNetTrainer"):
        raise AttributeError(name)
    try:
        trainers = import_module("nnunet_ext.trainers")
    except ModuleNotFoundError as error:
        if error.name != "nnunet_ext":
            raise
        # A Python that inherited nnUNet_extTrainer from an environment with nnunet_ext, and has none itself.
        raise AttributeError(name) from None
    return getattr(trainers, name)
