"""How far every fold of a matrix is."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.benchmark.folders import RUN_LOCK, failure_file
from nnunet_ext.benchmark.matrix import Fold, Matrix
from nnunet_ext.benchmark.results import FoldResults
from nnunet_ext.benchmark.step import last_line
from nnunet_ext.locks import is_held, last_owner


@dataclass(frozen=True)
class Status:
    """One row of the table."""

    fold: Fold
    state: str
    """done, running, failed, queued (a run is at work and will come to it), stopped (a run can continue it) or open."""
    epoch: int
    """How many epochs began."""
    epochs: int
    seconds_per_epoch: float | None
    note: str
    """Who trains it, or why it does not run."""


def status(benchmark: Path, matrix: Matrix) -> list[Status]:
    """A row for each fold."""
    at_work = is_held(benchmark / RUN_LOCK)
    return [_of(benchmark, fold, at_work) for fold in matrix.all_folds()]


def counts(rows: list[Status]) -> str:
    """How many folds are in which state, in words."""
    numbers = Counter(row.state for row in rows)
    return f"{len(rows)} folds: " + ", ".join(f"{number} {state}" for state, number in numbers.items())


def failures(benchmark: Path, matrix: Matrix) -> list[str]:
    """The steps beside the trainings that failed, with the last line of the error."""
    files = {step.job: failure_file(benchmark, step.job) for step in matrix.all_steps() if not isinstance(step, Fold)}
    return [f"{job}: failed: {last_line(file)}" for job, file in files.items() if file.is_file()]


def _of(benchmark: Path, fold: Fold, at_work: bool) -> Status:
    results = FoldResults(fold)
    state, note = _state(benchmark, fold, results, at_work)
    return Status(fold, state, results.epoch(), results.epochs(), results.seconds_per_epoch(), note)


def _state(benchmark: Path, fold: Fold, results: FoldResults, at_work: bool) -> tuple[str, str]:
    if results.is_done():
        return "done", ""
    owner = last_owner(results.lock)
    if owner is not None and owner.is_alive():
        return "running", ("validating, " if results.is_trained() else "") + str(owner)
    failure = failure_file(benchmark, fold.job)
    if failure.is_file():
        return "failed", last_line(failure)
    note = f"{owner} was killed" if owner is not None else ""
    if at_work:
        return "queued", note
    return ("stopped" if owner is not None or results.has_checkpoint() else "open"), note
