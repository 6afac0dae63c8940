"""Checkpoints of the fork of nnU-Net 2.1 that LKM-UNet's authors trained in, as model folders of stock nnU-Net."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunet_ext.checkpoints import convert_state_dict
from nnunet_ext.sharing.export import write_model
from nnunet_ext.sharing.layers import check_layers
from nnunet_ext.sharing.model import Model, check_that_it_predicts
from nnunet_ext.sharing.plain import Checkpoint, read_json, read_nnunet_checkpoint
from nnunet_ext.sharing.staging import staged

TRAINER = "nnUNetTrainerLKMUNetReleased"
"""It computes what the authors' code computes."""


def import_checkpoints(checkpoints: Sequence[Path], plans: Path, dataset: Path, out: Path) -> Path:
    """Make a model folder of a training of LKM-UNet, for nnUNetv2_predict.

    Args:
        checkpoints: the fork's checkpoint_*.pth, one of each fold.
        plans: the plans.json beside the folds, in the format of nnU-Net 2.1 or of today.
        dataset: the dataset.json beside them.
        out: a folder that becomes what nnUNet_results can name.

    Returns:
        The model's folder in `out`.

    Raises:
        ValueError: if the files are not what they should be, or do not belong together.
        OSError: if something cannot be written. Nothing of it is left.
    """
    folds: dict[str, Checkpoint] = {}
    for checkpoint in checkpoints:
        fold, converted = _convert(checkpoint)
        if fold in folds:
            raise ValueError(f"{checkpoint} is of fold {fold}, as one before it: give one checkpoint of each fold")
        folds[fold] = converted
    model = Model(None, modern_plans(plans), read_json(dataset), folds, "checkpoint_final.pth")
    target = out / model.path
    with staged(target) as staging:
        written = staging / "model"
        write_model(model, written)
        check_that_it_predicts(written, model.folds, model.checkpoint_name)
        os.rename(written, target)
    return target


def _convert(checkpoint: Path) -> tuple[str, Checkpoint]:
    """Its fold, and what nnU-Net loads of it."""
    theirs = read_nnunet_checkpoint(checkpoint)
    with warnings.catch_warnings(action="error", category=UserWarning):
        try:
            weights = convert_state_dict(theirs, "lkm_unet")
        except (UserWarning, ValueError) as error:
            raise ValueError(f"{checkpoint} is not a checkpoint of LKM-UNet: {error}") from error
    fold = str(theirs["init_args"].get("fold", "all"))
    if fold != "all" and not fold.isdecimal():
        raise ValueError(f"{checkpoint} is of fold {fold!r}, expected a number or all")
    return fold, {**theirs, "network_weights": weights, "trainer_name": TRAINER}


def modern_plans(file: Path) -> dict[str, Any]:
    """Plans in the format of today, by nnU-Net's own conversion.

    Raises:
        ValueError: if nnU-Net cannot convert them, or they name other things than layers.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = read_json(file)
    check_layers(plans)
    try:
        with warnings.catch_warnings(action="ignore"):  # nnU-Net warns of what is asked for here
            manager = PlansManager(plans)
            converted = {name: manager.get_configuration(name).configuration for name in plans["configurations"]}
    except Exception as error:  # broken plans make nnU-Net raise anything
        raise ValueError(
            f"the plans in {file} cannot be used ({type(error).__name__}: {error}): "
            "give the plans.json from the folder of the training"
        ) from error
    # Inheritance is resolved: a child of old plans would bring its old entries along.
    resolved = {
        name: {key: value for key, value in entries.items() if key != "inherits_from"}
        for name, entries in converted.items()
    }
    return {**plans, "configurations": resolved}
