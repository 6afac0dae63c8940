"""A trained model's folder, as nnU-Net writes it: checked before anything of it is used."""

import contextlib
import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nnunet_ext.one_line import in_one_line
from nnunet_ext.sharing.layers import check_layers, without_timms_warning
from nnunet_ext.sharing.plain import Checkpoint, read_json, read_nnunet_checkpoint

_PART = r"(?!\.)[^/\\:\x00-\x1f]+"
NAMES = {
    "dataset name": rf"Dataset\d{{3,}}_{_PART}",
    "trainer": r"(?!.*__)[^\W\d]\w*",
    "plans name": rf"(?!.*__){_PART}",
    "configuration": rf"(?!.*__){_PART}",
}
"""What may become part of a path: no folder in it, nothing hidden; "__" separates the last three."""


@dataclass(frozen=True)
class Model:
    """What a model folder holds; names come from its files, not from the folder's own name."""

    folder: Path | None
    plans: dict[str, Any]
    dataset: dict[str, Any]
    checkpoints: dict[str, Checkpoint]
    """By fold: "0" to "4", or "all"."""

    checkpoint_name: str

    def __post_init__(self) -> None:
        names = (self.dataset_name, self.trainer, self.plans_name, self.configuration)
        for (what, pattern), name in zip(NAMES.items(), names, strict=True):
            if not isinstance(name, str) or not re.fullmatch(pattern, name):
                raise ValueError(f"the {what} is {name!r}, which cannot be part of a model folder's name: rename it")
        for fold, checkpoint in self.checkpoints.items():
            found = (checkpoint["trainer_name"], checkpoint["init_args"].get("configuration"))
            if found != (self.trainer, self.configuration):
                raise ValueError(
                    f"fold {fold} is of {' and '.join(map(str, found))}, the first fold of {self.trainer} and "
                    f"{self.configuration}: export models of one training"
                )

    @property
    def dataset_name(self) -> Any:
        """Dataset004_Hippocampus."""
        return self.plans.get("dataset_name")

    @property
    def plans_name(self) -> Any:
        """The name of the plans, as nnUNetPlans."""
        return self.plans.get("plans_name")

    @property
    def trainer(self) -> str:
        """The trainer's class name."""
        return self._first["trainer_name"]

    @property
    def configuration(self) -> Any:
        """2d, 3d_fullres..."""
        return self._first["init_args"].get("configuration")

    @property
    def configuration_entries(self) -> dict[str, Any]:
        """The configuration's part of the plans, with what it inherits, in the format of today."""
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        with warnings.catch_warnings(action="ignore"):  # about old plans, which nnU-Net converts
            entries: dict[str, Any] = PlansManager(self.plans).get_configuration(self.configuration).configuration
        return entries

    @property
    def _first(self) -> Checkpoint:
        return next(iter(self.checkpoints.values()))

    @property
    def path(self) -> Path:
        """The model's place in nnU-Net's folder of results."""
        return Path(self.dataset_name, f"{self.trainer}__{self.plans_name}__{self.configuration}")

    @property
    def folds(self) -> list[str]:
        """The folds, in the order that nnU-Net takes them."""
        return list(self.checkpoints)


def open_model(folder: Path, folds: Sequence[str] | None, checkpoint_name: str) -> Model:
    """Read the model in `folder` (`.../DatasetXXX_Name/TRAINER__PLANS__CONFIGURATION`); weights stay on the disk.

    Args:
        folder: the model folder.
        folds: numbers or "all"; None for every numbered fold with such a checkpoint, or for `fold_all` alone.
        checkpoint_name: a file's name.

    Raises:
        ValueError: names the file that is missing or is not what it should be, or what the plans name and is no layer.
    """
    if Path(checkpoint_name).name != checkpoint_name or not checkpoint_name.endswith(".pth"):
        raise ValueError(f"the checkpoint is {checkpoint_name!r}, expected a file's name like checkpoint_final.pth")
    if folder.is_file() and folder.suffix == ".zip":
        raise ValueError(
            f"{folder} is a zip: nnUNetv2_install_pretrained_model_from_zip makes a model folder of it, give that"
        )
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give nnUNet_results/DatasetXXX_Name/TRAINER__PLANS__CONFIGURATION")
    plans, dataset = read_json(folder / "plans.json"), read_json(folder / "dataset.json")
    check_layers(plans)
    there = sorted(file.parent.name.removeprefix("fold_") for file in folder.glob(f"fold_*/{checkpoint_name}"))
    if folds is None:
        folds = [fold for fold in there if fold.isdigit()] or [fold for fold in there if fold == "all"]
    if not folds:
        raise ValueError(
            f"{folder} has no fold_*/{checkpoint_name}: train a fold to its end, or name another checkpoint"
        )
    for fold in folds:
        if fold != "all" and not re.fullmatch("[0-9]+", fold):
            raise ValueError(f"a fold is {fold!r}, expected a number or all")
        if fold not in there:
            of_all = f"the folds with one are {', '.join(there)}" if there else "no fold has one"
            raise ValueError(f"{folder / f'fold_{fold}' / checkpoint_name} is missing: {of_all}")
    checkpoints = {fold: read_nnunet_checkpoint(folder / f"fold_{fold}" / checkpoint_name) for fold in folds}
    return Model(folder, plans, dataset, checkpoints, checkpoint_name)


def find_trainer(name: str) -> Any:
    """The trainer's class, found as nnU-Net finds it for a prediction.

    Raises:
        ValueError: if there is none.
    """
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    try:
        with contextlib.redirect_stdout(io.StringIO()), without_timms_warning():
            found = recursive_find_trainer_class_by_name(name)
    except RuntimeError:
        found = None
    if found is None:
        raise ValueError(
            f"nnU-Net does not find the trainer {name}: set nnUNet_extTrainer to the folder that holds it, as for the "
            "training (nnunet-ext doctor tells what is set)"
        )
    return found


def check_that_it_predicts(model: Path, folds: Sequence[str], checkpoint_name: str) -> None:
    """Load a written model folder with nnU-Net's own predictor, on the CPU.

    Raises:
        ValueError: if nnU-Net cannot.
    """
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
            predictor.initialize_from_trained_model_folder(str(model), tuple(folds), checkpoint_name)
            for weights in predictor.list_of_parameters[1:]:
                predictor.network.load_state_dict(weights)
    except Exception as error:  # broken plans and weights make nnU-Net raise anything
        raise ValueError(
            f"nnU-Net cannot load this model ({in_one_line(error, 300)}): "
            "use the plans, dataset.json and trainer that its weights were trained with"
        ) from error
