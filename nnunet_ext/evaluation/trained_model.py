"""The folds of a trained model, as nnU-Net leaves them, and the cases each of them should have predicted."""

import json
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.evaluation.errors import EvaluationError
from nnunet_ext.evaluation.evaluate import find_cases
from nnunet_ext.folders import nnunet_folder


@dataclass(frozen=True)
class Fold:
    """One fold."""

    name: str
    """The folder's: fold_0 or fold_all."""
    validation: Path
    """Its predictions; the folder need not exist."""
    references: dict[str, Path]
    """By case, of those it should have predicted."""
    note: str | None = None
    """What a reader of its numbers should know."""


@dataclass(frozen=True)
class TrainedModel:
    """A folder DATASET/TRAINER__PLANS__CONFIGURATION of nnUNet_results."""

    dataset_json: Path
    references: Path
    """The folder of all of them."""
    folds: list[Fold]


def read_trained_model(folder: Path) -> TrainedModel:
    """Find the folds of a model and, in nnUNet_preprocessed, the references of their cases.

    Raises:
        EvaluationError: this is no trained model, or its data set is not in nnUNet_preprocessed.
    """
    try:
        dataset = json.loads((folder / "plans.json").read_text(encoding="utf-8"))["dataset_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            f"{folder} is no trained model of nnU-Net ({type(error).__name__}: {error}); give the folder "
            "nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION."
        ) from error
    data = nnunet_folder("nnUNet_preprocessed", EvaluationError) / dataset
    folder_of_references = data / "gt_segmentations"
    references = find_cases(folder_of_references)
    splits = _splits(data / "splits_final.json")
    folders = sorted(path for path in folder.glob("fold_*") if path.is_dir())
    if not folders:
        raise EvaluationError(f"{folder} has no folder fold_0, ..., or fold_all: nothing was trained.")
    return TrainedModel(
        folder / "dataset.json", folder_of_references, [_fold(path, references, splits) for path in folders]
    )


def _fold(folder: Path, references: dict[str, Path], splits: list[list[str]]) -> Fold:
    number = folder.name.removeprefix("fold_")
    validation = folder / "validation"
    if number == "all":
        return Fold(folder.name, validation, references, "These cases were trained on: fold all has no others.")
    if not number.isdecimal() or int(number) >= len(splits):
        raise EvaluationError(
            f"splits_final.json has {len(splits)} folds, so the cases of {folder.name} are not known; "
            "evaluate it with REFERENCE_FOLDER PREDICTION_FOLDER."
        )
    cases = splits[int(number)]
    if not cases:
        raise EvaluationError(f"splits_final.json has no validation case for {folder.name}.")
    if absent := [case for case in cases if case not in references]:
        raise EvaluationError(f"gt_segmentations lacks {', '.join(absent)} of {folder.name}; preprocess again.")
    return Fold(folder.name, validation, {case: references[case] for case in cases})


def _splits(path: Path) -> list[list[str]]:
    """The validation cases of every fold."""
    try:
        return [list(fold["val"]) for fold in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            f"{path} is not readable ({type(error).__name__}: {error}); training writes it, and it says "
            "which cases a fold should have predicted."
        ) from error
