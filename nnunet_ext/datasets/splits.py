"""splits_final.json: the folds of a split, and the place where nnU-Net reads them."""

import json
from collections.abc import Sequence
from pathlib import Path

from nnunet_ext.datasets.benchmark import Benchmark, Case, Fold
from nnunet_ext.files import write_text

FILE = "splits_final.json"
N_FOLDS = 5


def folds(benchmark: Benchmark, cases: Sequence[Case], labels: Path) -> list[Fold]:
    """The folds of the cases in imagesTr.

    One fold, if the split has official validation cases. Else the benchmark's own, or nnU-Net's five random ones; none,
    if there are fewer than five cases.

    Args:
        benchmark: whose cases they are.
        cases: those that were converted.
        labels: the folder labelsTr.
    """
    training = sorted(case.name for case in cases if case.part == "train")
    validation = sorted(case.name for case in cases if case.part == "validation")
    if validation:
        return [{"train": training, "val": validation}]
    if benchmark.folds is not None:
        return benchmark.folds(labels)
    if len(training) < N_FOLDS:
        return []
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    found: list[Fold] = generate_crossval_split(training, n_splits=N_FOLDS)
    return found


def to_json(found: list[Fold]) -> str:
    """As nnU-Net writes it."""
    return json.dumps(found, indent=4) + "\n"


def place(dataset: Path, preprocessed: Path) -> str:
    """Put the dataset's splits where nnU-Net reads them; returns why that was not done, or nothing.

    Args:
        dataset: the dataset's folder in nnUNet_raw.
        preprocessed: nnUNet_preprocessed.
    """
    splits, target = dataset / FILE, preprocessed / dataset.name / FILE
    if target.is_file():
        try:
            same = json.loads(target.read_text()) == json.loads(splits.read_text())
        except ValueError:
            same = False
        return "" if same else f"{target} holds another split and was left alone; to use this one: cp {splits} {target}"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, splits.read_text())
    return ""
