"""`nnunet-ext bench run` on one machine: killed in the middle, started again, complete and equal."""

import os
import signal
from pathlib import Path

import pytest

from .bench import SECONDS_TO_WAIT, STOCK, Matrix, dice, kill
from .stock import StockNnUNet

pytestmark = pytest.mark.slow


def test_killed_and_started_again(hippocampus: StockNnUNet, tmp_path: Path) -> None:
    pytest.importorskip("snakemake", reason="needs Snakemake: pip install nnunet-ext[bench]")
    matrix = Matrix(hippocampus, tmp_path, [STOCK], dawdle=0.5)
    assert "2" in matrix("run", "--dry-run", "--device", "cpu")
    assert not matrix.events()

    # Snakemake is killed, and the training that it started goes on: the next run must not train this fold, too.
    run = matrix.start("run", "--device", "cpu")
    event = matrix.wait_for(lambda event: event["epoch"] == 1, run)
    kill(run)
    assert "running" in matrix("status")
    again = matrix.start("run", "--device", "cpu", "--jobs", "2")
    matrix.wait_for(lambda other: other["fold"] != event["fold"], again)

    # The training itself is killed in the middle of an epoch, and taken up by the run that waits for it.
    matrix.wait_for(lambda other: other["fold"] == event["fold"] and other["epoch"] == 3, again)
    os.kill(event["pid"], signal.SIGKILL)
    assert again.wait(timeout=SECONDS_TO_WAIT) == 0, (matrix.folder / "started.log").read_text()

    matrix.check_complete()
    matrix.check_never_together()
    killed = Path(event["fold"])
    assert matrix.resumed(STOCK, int(killed.name[-1])) == 1

    assert dice(killed) == dice(matrix.train_without_a_break(killed))
    assert matrix("run", "--device", "cpu").splitlines()[-1] == "2 folds: 2 done"
