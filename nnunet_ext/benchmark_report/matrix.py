"""The matrix of networks, data sets and folds, as `matrix.json` names it."""

import json
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.benchmark_report.errors import ReportError

FILE = "matrix.json"


@dataclass(frozen=True)
class Budget:
    """How long every network trained."""

    name: str
    epochs: int
    trainer_suffix: str
    """The end of the trainers' names that have this length, as "_20epochs"; "" for nnU-Net's own length."""


@dataclass(frozen=True)
class Dataset:
    """One nnU-Net data set with the plan and the evaluation protocol that all networks share."""

    id: int
    name: str
    configuration: str
    plans: str
    protocol: str


@dataclass(frozen=True)
class Matrix:
    """Every trainer on every data set and fold."""

    budget: Budget
    datasets: tuple[Dataset, ...]
    trainers: tuple[str, ...]
    folds: tuple[int, ...]


def read(folder: Path) -> Matrix:
    """Read `folder`/matrix.json; ReportError if it is not there or not whole."""
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ReportError(f"{folder} holds no {FILE}; give the folder that `nnunet-ext bench` wrote.") from error
    except (OSError, ValueError) as error:
        raise ReportError(f"{path} cannot be read ({error}); let `nnunet-ext bench` write it anew.") from error
    try:
        matrix = Matrix(
            budget=Budget(**content["budget"]),
            datasets=tuple(Dataset(**data) for data in content["datasets"]),
            trainers=tuple(dict.fromkeys(map(str, content["trainers"]))),
            folds=tuple(sorted({int(fold) for fold in content["folds"]})),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ReportError(
            f"{path} is not a matrix of budget, datasets, trainers and folds ({type(error).__name__}: {error}); "
            "let `nnunet-ext bench` write it anew."
        ) from error
    for part in ("datasets", "trainers", "folds"):
        if not getattr(matrix, part):
            raise ReportError(f"{path} names no {part}; a report needs at least one.")
    return matrix
