"""The matrix of networks, data sets and folds, and its file `matrix.json`."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.benchmark.errors import BenchmarkError
from nnunet_ext.catalogue import SHORT_VARIANTS
from nnunet_ext.evaluation.command import PROTOCOLS
from nnunet_ext.files import write_text

FILE = "matrix.json"
NNUNET_PLANS = "nnUNetPlans"
NNUNET_PROTOCOL = "nnunet"
NAME = r"(?:(?!__)\w)+"
"""Of trainers and configurations: nnU-Net joins them and the plans with double underscores."""
PLANS_NAME = r"(?!__)\w(?:(?!__)[\w.])*"
"""Of plans, which may have a dot, as nnUNetLKMUNetPlans_24.5G; a name of only dots would be another folder."""
OWN_BUDGET = re.compile(r"_([1-9]\d*)epochs_([1-9]\d*)iterations")
"""How the names of a user's own trainers end that train so short, as nnU-Net has no option for it."""


@dataclass(frozen=True)
class Budget:
    """How long every network trains."""

    name: str
    epochs: int
    """A trainer that brings its own recipe may train otherwise; its folds then say so."""
    trainer_suffix: str
    """The end of the names of the trainers that train so long, "" for nnU-Net's own length."""

    @property
    def title(self) -> str:
        """Name and length, for captions; an epoch has nnU-Net's 250 iterations where nothing else is said."""
        own = OWN_BUDGET.fullmatch(self.trainer_suffix)
        length = f"{self.epochs} epochs of {own[2]} iterations" if own else f"{self.epochs} epochs"
        return f"budget {self.name} ({length})"


BUDGETS = {
    budget.name: budget
    for budget in (
        Budget("full", 1000, ""),
        *(Budget(name, int(name.removesuffix("epochs")), f"_{name}") for name in SHORT_VARIANTS),
    )
}


def budget_named(name: str) -> Budget | None:
    """One of `BUDGETS`, or that of the user's own trainers with such an ending; None if it is neither."""
    own = OWN_BUDGET.fullmatch(f"_{name}")
    return Budget(name, int(own[1]), own[0]) if own else BUDGETS.get(name)


@dataclass(frozen=True)
class Dataset:
    """One nnU-Net data set with the plan and the evaluation protocol that all networks share."""

    id: int
    name: str
    configuration: str
    plans: str
    protocol: str
    folds: tuple[int, ...] = ()
    """The folds of its split, where that has not all of the matrix's, as official splits have one; else empty."""


@dataclass(frozen=True)
class Plan:
    """The planning and preprocessing that all trainings on a data set share."""

    dataset: str
    plans: str
    configurations: tuple[str, ...]

    @property
    def job(self) -> str:
        """Its name as a step, such as Dataset004_Hippocampus/nnUNetPlans."""
        return f"{self.dataset}/{self.plans}"


@dataclass(frozen=True)
class Fold:
    """One training: a network on one fold of a data set."""

    dataset: Dataset
    trainer: str
    """With the suffix of the budget, as nnU-Net knows it."""
    fold: int

    @property
    def job(self) -> str:
        """Its name as a step, and its folder below nnUNet_results."""
        return (
            f"{self.dataset.name}/{self.trainer}__{self.dataset.plans}__{self.dataset.configuration}/fold_{self.fold}"
        )

    @property
    def plan(self) -> str:
        """The name of the step that it waits for."""
        return f"{self.dataset.name}/{self.dataset.plans}"


@dataclass(frozen=True)
class Evaluation:
    """The scores of a network's folds by a protocol other than nnU-Net's, which its validation writes itself."""

    folds: tuple[Fold, ...]

    @property
    def dataset(self) -> Dataset:
        """Of all folds."""
        return self.folds[0].dataset

    @property
    def job(self) -> str:
        """Its name as a step."""
        return f"{self.folds[0].job.rpartition('/')[0]}/evaluation"


Step = Plan | Fold | Evaluation


@dataclass(frozen=True)
class Matrix:
    """Every trainer on every data set and fold."""

    budget: Budget
    datasets: tuple[Dataset, ...]
    trainers: tuple[str, ...]
    """Without the suffix of the budget."""
    folds: tuple[int, ...]

    def all_plans(self) -> list[Plan]:
        """One per data set and plans name, with every configuration that a training needs."""
        configurations: dict[tuple[str, str], dict[str, None]] = {}
        for data in self.datasets:
            configurations.setdefault((data.name, data.plans), {})[data.configuration] = None
        return [Plan(name, plans, tuple(needed)) for (name, plans), needed in configurations.items()]

    def folds_on(self, dataset: str) -> tuple[int, ...]:
        """The folds that every network trains on the data set of this name."""
        return next(data.folds for data in self.datasets if data.name == dataset) or self.folds

    def all_folds(self) -> list[Fold]:
        """Every training; the first fold of each network comes first, so that a mistake shows early."""
        return [
            Fold(data, trainer + self.budget.trainer_suffix, fold)
            for fold in self.folds
            for data in self.datasets
            if fold in self.folds_on(data.name)
            for trainer in self.trainers
        ]

    def all_evaluations(self) -> list[Evaluation]:
        """One per network and data set whose protocol is not nnU-Net's."""
        return [
            Evaluation(
                tuple(Fold(data, trainer + self.budget.trainer_suffix, fold) for fold in self.folds_on(data.name))
            )
            for data in self.datasets
            if data.protocol != NNUNET_PROTOCOL
            for trainer in self.trainers
        ]

    def all_steps(self) -> list[Step]:
        """Plans, then trainings, then evaluations."""
        return [*self.all_plans(), *self.all_folds(), *self.all_evaluations()]

    def find(self, job: str) -> Step:
        """The step with this name; BenchmarkError if the matrix has none."""
        for step in self.all_steps():
            if step.job == job:
                return step
        raise BenchmarkError(f"The matrix has no step {job!r}; `nnunet-ext bench list` names them.")


def write(folder: Path, matrix: Matrix) -> Path:
    """Write `folder`/matrix.json; BenchmarkError if another matrix is there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    if path.exists() and read(folder) != matrix:
        raise BenchmarkError(
            f"{path} holds another matrix; edit it, or give another folder (results stay where they are)."
        )
    content = asdict(matrix)
    for data in content["datasets"]:
        if not data["folds"]:
            del data["folds"]
    write_text(path, json.dumps(content, indent=2) + "\n")
    return path


def read(folder: Path) -> Matrix:
    """Read `folder`/matrix.json; BenchmarkError if it is not there or not as it should be."""
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BenchmarkError(f"{folder} holds no {FILE}; `nnunet-ext bench init {folder} ...` writes one.") from error
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path} cannot be read: {error}.") from error
    try:
        matrix = Matrix(
            budget=Budget(**content["budget"]),
            datasets=tuple(Dataset(**data | {"folds": _unique(data.get("folds", ()))}) for data in content["datasets"]),
            trainers=_unique(content["trainers"]),
            folds=_unique(content["folds"]),
        )
        check(matrix)
    except KeyError as error:
        raise BenchmarkError(f"{path} lacks {error}.") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise BenchmarkError(f"{path}: {error}.") from error
    return matrix


def check(matrix: Matrix) -> None:
    """Raise ValueError, with a clause that names the value, if a part of the matrix cannot be."""
    for part in ("datasets", "trainers", "folds"):
        if not getattr(matrix, part):
            raise ValueError(f"it names no {part}; at least one is needed")
    for data in matrix.datasets:
        if not re.fullmatch(r"Dataset\d{3}_[^/]+", data.name) or int(data.name[7:10]) != data.id:
            raise ValueError(
                f"the data set {data.name!r} with id {data.id!r} is none; nnU-Net names it Dataset004_Name"
            )
        if not set(data.folds) <= set(matrix.folds) or matrix.folds_on(data.name) != (data.folds or matrix.folds):
            raise ValueError(f"the folds of {data.name} must be some of the matrix's, and the same in all its entries")
        if data.protocol not in PROTOCOLS:
            raise ValueError(f"{data.protocol!r} is no protocol of evaluation; choose from {', '.join(PROTOCOLS)}")
        if data.configuration == "3d_cascade_fullres":
            raise ValueError("a cascade needs the predictions of its 3d_lowres first; train 3d_lowres or 3d_fullres")
    for name in matrix.trainers:
        _check_name(name, "trainer", NAME, "letters, digits and single underscores")
    for data in matrix.datasets:
        _check_name(data.plans, "plans name", PLANS_NAME, "letters, digits, dots and single underscores")
        _check_name(data.configuration, "configuration", NAME, "letters, digits and single underscores")
    if len({(data.name, data.plans, data.configuration) for data in matrix.datasets}) < len(matrix.datasets):
        raise ValueError("it names a data set twice with the same plans and configuration")
    for fold in matrix.folds:
        if not isinstance(fold, int) or fold < 0:
            raise ValueError(f"{fold!r} is no fold; folds are counted from 0")


def _check_name(name: object, kind: str, pattern: str, words: str) -> None:
    if not isinstance(name, str) or not re.fullmatch(pattern, name):
        raise ValueError(f"{name!r} is no {kind}: {words}")


def _unique(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))
