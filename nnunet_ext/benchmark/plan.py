"""The step that all trainings on a data set wait for: plans, preprocessed cases, splits."""

import json
import os
from pathlib import Path
from typing import Any

from nnunet_ext.benchmark import nnunet
from nnunet_ext.benchmark.errors import BenchmarkError
from nnunet_ext.benchmark.folders import nnunet_folder
from nnunet_ext.benchmark.matrix import NNUNET_PLANS, Plan
from nnunet_ext.files import write_text
from nnunet_ext.locks import Lock

LOCK = "nnunet_ext_plan.lock"
SPLITS = "splits_final.json"


def plan(step: Plan, folds: tuple[int, ...]) -> None:
    """Do what is missing of planning and preprocessing; plans and cases that are there stay as they are.

    Raises:
        BenchmarkError: if the data set cannot be planned like that.
        LockedError: if another process is at it.
    """
    _check_can_plan(step)
    folder = nnunet_folder("nnUNet_preprocessed") / step.dataset
    with Lock(folder / LOCK):
        identifier = str(int(step.dataset[7:10]))
        processes = os.environ.get("nnUNet_def_n_proc", "1")
        if not plans_file(step).is_file():
            # nnU-Net's planner sets its number of threads by this and does not take 0.
            with nnunet.environment(nnUNet_n_proc_DA="1"):
                nnunet.run(
                    "nnUNetv2_plan_and_preprocess",
                    *("-d", identifier, "-npfp", processes, "--no_pp", "--verify_dataset_integrity"),
                )
        missing = [name for name in step.configurations if not is_preprocessed(step, name)]
        if missing:
            nnunet.run(
                "nnUNetv2_preprocess",
                *("-d", identifier, "-plans_name", step.plans, "-c", *missing, "-np", *[processes] * len(missing)),
            )
        check(step)
        if not (folder / SPLITS).is_file():
            write_splits(folder, step)
        check_splits(folder, folds)


def plans_file(step: Plan) -> Path:
    """Where the plans of the step are."""
    return nnunet_folder("nnUNet_preprocessed") / step.dataset / f"{step.plans}.json"


def _check_can_plan(step: Plan) -> None:
    if plans_file(step).is_file():
        return
    if step.plans != NNUNET_PLANS:
        raise BenchmarkError(
            f"{plans_file(step)} is not there; `nnunet-ext plan` writes plans other than {NNUNET_PLANS}."
        )
    raw = nnunet_folder("nnUNet_raw") / step.dataset
    if not (raw / "dataset.json").is_file():
        raise BenchmarkError(f"{step.dataset} is not planned, and {raw} holds no dataset.json to plan it from.")


def check(step: Plan) -> None:
    """BenchmarkError if a training of the step cannot begin."""
    for name in step.configurations:
        if not is_preprocessed(step, name):
            raise BenchmarkError(f"{step.dataset} is not planned and preprocessed for {step.plans} {name}.")


def is_ready(step: Plan, folds: tuple[int, ...]) -> bool:
    """Whether the trainings of the step can begin."""
    folder = nnunet_folder("nnUNet_preprocessed") / step.dataset
    try:
        check(step)
        if not (folder / SPLITS).is_file():
            return False
        check_splits(folder, folds)
    except (BenchmarkError, OSError, ValueError, KeyError):
        return False  # the step itself says why
    return True


def is_preprocessed(step: Plan, configuration: str) -> bool:
    """Whether every training case is there; of a case, nnU-Net writes the .pkl last.

    Raises:
        BenchmarkError: the plans do not have the configuration.
    """
    file = plans_file(step)
    if not file.is_file():
        return False
    planned: dict[str, Any] = json.loads(file.read_text())["configurations"]
    if configuration not in planned:
        raise BenchmarkError(f"{file} has no configuration {configuration}; it has {', '.join(planned)}.")
    description = json.loads((file.parent / "dataset.json").read_text())
    cases = list((file.parent / _data_identifier(planned, configuration)).glob("*.pkl"))
    truths = list((file.parent / "gt_segmentations").glob(f"*{description['file_ending']}"))  # copied after all cases
    return min(len(cases), len(truths)) >= int(description["numTraining"])


def write_splits(folder: Path, step: Plan) -> None:
    """Write the splits that nnU-Net would; the first training would do it while the others read half of the file."""
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    planned = json.loads(plans_file(step).read_text())["configurations"]
    cases = folder / _data_identifier(planned, step.configurations[0])
    names = sorted(path.stem for path in cases.glob("*.pkl"))
    if len(names) < 5:
        raise BenchmarkError(f"{step.dataset} has {len(names)} training cases; five folds need 5 or more.")
    splits = [
        {part: list(map(str, members)) for part, members in split.items()} for split in generate_crossval_split(names)
    ]
    write_text(folder / SPLITS, json.dumps(splits, indent=4) + "\n")


def check_splits(folder: Path, folds: tuple[int, ...]) -> None:
    """BenchmarkError if the splits lack a fold: nnU-Net would draw a random one, which is in no cross-validation."""
    n_splits = len(json.loads((folder / SPLITS).read_text()))
    if max(folds) >= n_splits:
        raise BenchmarkError(f"{folder / SPLITS} has the folds 0 to {n_splits - 1}; the matrix wants {max(folds)}.")


def _data_identifier(planned: dict[str, Any], configuration: str) -> str:
    """The folder of the configuration's cases, which it may inherit."""
    chosen = planned[configuration]
    while "data_identifier" not in chosen:
        chosen = planned[chosen["inherits_from"]]
    return str(chosen["data_identifier"])
