"""Running the matrix with Snakemake: what is not done, in places that Snakemake chooses.

On one machine the steps begin in the matrix's order. To SLURM Snakemake submits many at once, in any order.
"""

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from nnunet_ext import slurm
from nnunet_ext.benchmark import matrix as matrices
from nnunet_ext.benchmark import nnunet
from nnunet_ext.benchmark import plan as planning
from nnunet_ext.benchmark.devices import visible_devices
from nnunet_ext.benchmark.errors import BenchmarkError
from nnunet_ext.benchmark.evaluate import EvaluationResults
from nnunet_ext.benchmark.folders import RUN_LOCK, ended_file, failure_file, stop_file
from nnunet_ext.benchmark.matrix import Evaluation, Fold, Matrix, Step
from nnunet_ext.benchmark.own_command import own_command
from nnunet_ext.benchmark.results import FoldResults
from nnunet_ext.locks import Lock, LockedError, is_held

SECONDS_BETWEEN_LOOKS = 10.0
RETRIES = 20
"""Of a step that was killed, preempted or out of time. Steps that failed are not tried again by the same run."""
SLURM_JOBS = 100
SECONDS_OF_WARNING = 180
"""Before its time is up SLURM tells the trainer, which saves and leaves."""


@dataclass(frozen=True)
class Options:
    """How to run a matrix."""

    slurm: bool = False
    jobs: int | None = None
    """Steps at the same time; None: one per GPU, one on a CPU, 100 on SLURM."""
    device: str = "auto"
    stop_on_failure: bool = False
    dry_run: bool = False
    rerun: Sequence[str] = ()
    """Folds to train again from the beginning, by the names of their steps."""
    hours: float = 24
    """Of a SLURM job; a training that takes longer continues in the next one."""
    memory_gb: float = 32
    cores: int = 8
    """Of a SLURM job."""
    snakemake: str = ""
    """More arguments for Snakemake, as one would type them."""


def run(benchmark: Path, options: Options, say: Callable[[str], None]) -> bool:
    """Train and validate every fold that is not done; returns whether all of them are now (or would be, in a dry run).

    Raises:
        BenchmarkError: if it cannot begin.
    """
    if options.jobs is not None and options.jobs < 1:
        raise BenchmarkError(f"--jobs must be 1 or more, not {options.jobs}.")
    benchmark = benchmark.absolute()
    matrix = matrices.read(benchmark)
    try:
        with Lock(benchmark / RUN_LOCK):
            if options.dry_run:
                return _dry_run(benchmark, matrix, options, say)
            return _run(benchmark, matrix, options, say)
    except LockedError as error:
        raise BenchmarkError(f"This benchmark is at work already: {error}.") from error


def _dry_run(benchmark: Path, matrix: Matrix, options: Options, say: Callable[[str], None]) -> bool:
    again = [matrix.find(job) for job in options.rerun]
    left = unfinished(benchmark, matrix, failed_too=True)
    every: list[Fold | Evaluation] = [*matrix.all_folds(), *matrix.all_evaluations()]
    steps = [step for step in every if step in left or step in again]
    for step in steps:
        mark_ended(ended_file(benchmark, step.job), False)
    plans = [plan for plan in matrix.all_plans() if not ended_file(benchmark, plan.job).exists()]
    for one in [*plans, *steps]:
        say(one.job)
    return _start_snakemake(benchmark, steps, options)


def _run(benchmark: Path, matrix: Matrix, options: Options, say: Callable[[str], None]) -> bool:
    for job in options.rerun:
        put_aside(matrix.find(job))
    stop_file(benchmark).unlink(missing_ok=True)
    for step in matrix.all_steps():
        failure_file(benchmark, step.job).unlink(missing_ok=True)
    while True:
        steps = unfinished(benchmark, matrix)
        # Of an earlier run that was killed, or of another benchmark.
        elsewhere = [step for step in steps if is_held(results_of(step).lock)]
        for step in elsewhere:
            say(f"{step.job} is at work already, and this run waits for it")
        # Snakemake would train what the evaluation of a network needs.
        busy = {Path(step.job).parent for step in elsewhere}
        todo = [step for step in steps if step not in elsewhere]
        todo = [step for step in todo if isinstance(step, Fold) or Path(step.job).parent not in busy]
        if todo:
            _start_snakemake(benchmark, todo, options)
        left = unfinished(benchmark, matrix)
        again = any(step not in todo or is_held(results_of(step).lock) for step in left)
        if not again or stop_file(benchmark).exists():
            return not left and not any(failure_file(benchmark, step.job).exists() for step in matrix.all_steps())
        while any(is_held(results_of(step).lock) for step in left):
            time.sleep(SECONDS_BETWEEN_LOOKS)


def results_of(step: Fold | Evaluation) -> FoldResults | EvaluationResults:
    """What tells whether the step is done, and who is at it."""
    return FoldResults(step) if isinstance(step, Fold) else EvaluationResults(step)


def unfinished(benchmark: Path, matrix: Matrix, failed_too: bool = False) -> list[Fold | Evaluation]:
    """The steps that are not done, those that failed only if wanted; Snakemake's notes are made to say the same."""
    steps: list[Fold | Evaluation] = [*matrix.all_folds(), *matrix.all_evaluations()]
    left = []
    for step in steps:
        done = results_of(step).is_done()
        failed = not done and not failed_too and failure_file(benchmark, step.job).exists()
        mark_ended(ended_file(benchmark, step.job), done or failed)
        if not done and not failed:
            left.append(step)
    for plan in matrix.all_plans():
        mark_ended(ended_file(benchmark, plan.job), planning.is_ready(plan, matrix.folds_on(plan.dataset)))
    return left


def mark_ended(note: Path, ended: bool) -> None:
    """Make Snakemake's note say whether the step ended."""
    if ended:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
    else:
        note.unlink(missing_ok=True)


def put_aside(step: Step) -> None:
    """Rename the folder of a fold, so that it is trained from the beginning and nothing is lost."""
    if not isinstance(step, Fold):
        raise BenchmarkError(f"{step.job} is no fold; only folds can be trained again.")
    results = FoldResults(step)
    try:
        with Lock(results.lock):
            target = results.folder.with_name(f"replaced_{results.folder.name}_{time.strftime('%Y%m%dT%H%M%S')}")
            results.folder.rename(target)
    except LockedError as error:
        raise BenchmarkError(f"It is being trained now: {error}.") from error
    for lock in target.glob(f"{results.lock.name}*"):
        lock.unlink()


def _start_snakemake(benchmark: Path, steps: list[Fold | Evaluation], options: Options) -> bool:
    if not steps:
        return True
    try:
        from snakemake.cli import main
    except ImportError as error:
        raise BenchmarkError(
            'Snakemake is not installed: pip install "nnunet-ext[bench]"; `nnunet-ext bench list` needs none.'
        ) from error
    try:
        with _process_as_before():
            main(arguments(benchmark, steps, options))
    except SystemExit as ended:
        return ended.code in (0, None)
    return True


@contextmanager
def _process_as_before() -> Iterator[None]:
    """Take back what Snakemake and the Snakefile change in their process, which goes on afterwards."""
    here, path, environment = Path.cwd(), sys.path.copy(), os.environ.copy()
    numbers = [signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        os.chdir(here)
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(environment)
        for number, handler in handlers.items():
            if handler is not None:  # one that is not Python's
                signal.signal(number, handler)


def arguments(benchmark: Path, steps: Sequence[Fold | Evaluation], options: Options) -> list[str]:
    """What Snakemake is told, so that it does `steps`, and what they need."""
    device = "cuda" if options.slurm and options.device == "auto" else options.device
    n_devices = len(visible_devices()) if device in ("auto", "cuda") else 0
    jobs = options.jobs or (SLURM_JOBS if options.slurm else max(1, n_devices))
    config = {
        "command": json.dumps(own_command(), ensure_ascii=False),  # Snakemake reads values as YAML
        "device": device,
        "on_failure": "stop" if options.stop_on_failure else "go-on",
        "threads": options.cores if options.slurm else 1,
        "retries": RETRIES,
        "gpus": int(device == "cuda"),
        "mem_mb": round(1000 * options.memory_gb),
        "runtime": round(60 * options.hours),
        "slurm_extra": shlex.quote(f"--signal=USR1@{SECONDS_OF_WARNING}"),
    }
    words = [str(ended_file(Path(), step.job)) for step in steps]
    words += ["--snakefile", str(files("nnunet_ext.benchmark").joinpath("Snakefile")), "--directory", str(benchmark)]
    words += ["--nolock", "--rerun-triggers", "mtime", "--rerun-incomplete", "--keep-going"]
    if options.dry_run:
        words += ["--dry-run", "--quiet", "rules"]
    if options.slurm:
        words += ["--executor", "slurm", "--jobs", str(jobs), "--slurm-requeue", "--latency-wait", "60"]
        if not slurm.has_accounting():
            words += ["--slurm-status-command", "squeue"]
    else:
        words += ["--cores", str(jobs)]
        os.environ.update(nnunet.workers(jobs))
    words += shlex.split(options.snakemake)
    return [*words, "--config", *(f"{name}={value}" for name, value in config.items())]
