"""`nnunet-ext bench run --slurm` on a real SLURM of one node: jobs cancelled and warned, Snakemake killed."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import one_node
import pytest

from nnunet_ext.locks import last_owner

from .bench import OURS, SECONDS_TO_WAIT, STOCK, Matrix, dice, kill
from .stock import StockNnUNet

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

RUN = ["run", "--slurm", "--device", "cpu", "--cores", "1", "--memory-gb", "2", "--hours", "1"]
# The node has two GPUs, which torch cannot use; a GPU per training is asked for all the same.
SNAKEMAKE = "--set-resources train:gpu=1 --slurm-init-seconds-before-status-checks 2 --seconds-between-status-checks 3"


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[None]:
    folder = tmp_path / "slurm"
    try:
        one_node.start(folder)
        yield
    finally:
        one_node.stop(folder)


def _trainer(event: dict[str, Any]) -> str:
    return OURS if f"{OURS}_" in event["fold"] else STOCK


def _job(fold: str) -> str:
    """The SLURM job that trains the fold."""
    owner = last_owner(Path(fold) / "nnunet_ext_job.lock")
    assert owner is not None
    assert owner.slurm_job is not None
    return owner.slurm_job


@pytest.mark.usefixtures("slurm")
def test_cancelled_warned_and_killed(hippocampus: StockNnUNet, tmp_path: Path) -> None:
    pytest.importorskip("snakemake", reason="needs Snakemake: pip install nnunet-ext[bench]")
    with Matrix(hippocampus, tmp_path, [STOCK, OURS], dawdle=0.7) as matrix:
        _cancel_warn_and_kill(matrix)


def _cancel_warn_and_kill(matrix: Matrix) -> None:
    # Ours are warned with the signal that `sbatch --signal` sends before the time of a job is up.
    signals = {STOCK: [], OURS: ["--signal=USR1"]}
    stopped: dict[str, str] = {}

    def is_next(event: dict[str, Any]) -> bool:
        return _trainer(event) not in stopped and event["epoch"] >= 1 and event["what"] == "train"

    run = matrix.start(*RUN, "--snakemake", SNAKEMAKE)
    while len(stopped) < len(signals):
        event = matrix.wait_for(is_next, run)
        subprocess.run(["scancel", *signals[_trainer(event)], _job(event["fold"])], check=True)
        stopped[_trainer(event)] = event["fold"]
    cancelled, warned = stopped[STOCK], stopped[OURS]
    # The jobs of a Snakemake that was killed go on.
    matrix.wait_for(lambda event: event["fold"] not in (cancelled, warned) and event["epoch"] >= 1, run)
    kill(run)
    again = matrix.start(*RUN, "--snakemake", SNAKEMAKE)
    assert again.wait(timeout=SECONDS_TO_WAIT) == 0, matrix.log()

    matrix.check_complete()
    matrix.check_never_together()
    assert {event["gpu"] for event in matrix.events()} == {"0", "1"}
    assert matrix.resumed(STOCK, int(cancelled[-1])) == 1
    assert matrix.resumed(OURS, int(warned[-1])) == 1
    assert any("Asked to leave: saved" in log.read_text() for log in Path(warned).glob("training_log_*.txt"))
    assert dice(Path(cancelled)) == dice(matrix.train_without_a_break(Path(cancelled)))
