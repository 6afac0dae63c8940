"""nnU-Net's folders and the benchmark's own."""

from pathlib import Path

from nnunet_ext import folders
from nnunet_ext.benchmark.errors import BenchmarkError

RUN_LOCK = "run.lock"
"""In the benchmark's folder; held by the `nnunet-ext bench run` that is at work."""


def nnunet_folder(variable: str) -> Path:
    """The folder that nnU-Net's `variable` names, absolute; BenchmarkError if it is not set or not there."""
    return folders.nnunet_folder(variable, BenchmarkError)


def failure_file(benchmark: Path, job: str) -> Path:
    """Where the step `job` leaves the traceback of its failure."""
    return benchmark / "state" / f"{job}.failed"


def ended_file(benchmark: Path, job: str) -> Path:
    """Snakemake's output of the step `job`: it ended, well or with a failure that another attempt would repeat."""
    return benchmark / "state" / f"{job}.ended"


def stop_file(benchmark: Path) -> Path:
    """There while a failure ended the run: steps that have not begun do nothing."""
    return benchmark / "state" / "stopped"
