"""What a matrix has cost and will cost, from the seconds that epochs took so far."""

import statistics
from dataclasses import dataclass

from nnunet_ext.benchmark import record
from nnunet_ext.benchmark.matrix import Fold, Matrix
from nnunet_ext.benchmark.results import FoldResults


@dataclass(frozen=True)
class Cost:
    """Of one network on one data set, in hours of one device."""

    dataset: str
    configuration: str
    trainer: str
    folds: int
    done: int
    device: str
    """Where the epochs were measured, "" if none were."""
    seconds_per_epoch: float | None
    """Median over the folds, None where no epoch was measured."""
    spent: float
    """What the folds took so far."""
    to_come: float | None
    """The epochs that are missing; None if unknown. Without validations and the starts of jobs."""


def cost(matrix: Matrix) -> list[Cost]:
    """One row for each network and data set."""
    cells: dict[tuple[str, str, str], list[Fold]] = {}
    for fold in matrix.all_folds():
        cells.setdefault((fold.dataset.name, fold.dataset.configuration, fold.trainer), []).append(fold)
    return [_cell(key, folds) for key, folds in cells.items()]


def _cell(key: tuple[str, str, str], folds: list[Fold]) -> Cost:
    results = [FoldResults(fold) for fold in folds]
    records = [record.read(one) for one in results]
    measured = [seconds for one in results if (seconds := one.seconds_per_epoch()) is not None]
    seconds = statistics.median(measured) if measured else None
    # The epoch that has begun counts as missing.
    missing = sum(max(0, one.epochs() - max(0, one.epoch() - 1)) for one in results if not one.is_trained())
    devices = {str(one["device"]): None for one in records if "device" in one}
    return Cost(
        *key,
        folds=len(folds),
        done=sum(one.is_done() for one in results),
        device=", ".join(devices),
        seconds_per_epoch=seconds,
        spent=sum(float(one.get("seconds", 0.0)) for one in records) / 3600,
        to_come=0.0 if missing == 0 else None if seconds is None else missing * seconds / 3600,
    )
