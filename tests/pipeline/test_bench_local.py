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
    with Matrix(hippocampus, tmp_path, [STOCK], dawdle=0.7) as matrix:
        matrix("run", "--dry-run", "--device", "cpu")
        assert not matrix.events()

        # Snakemake is killed, and one of its two trainings in the middle of an epoch; the other one goes on.
        run = matrix.start("run", "--device", "cpu", "--jobs", "2")
        event = matrix.wait_for(lambda event: event["epoch"] == 1, run)
        killed = Path(event["fold"])
        matrix.wait_for(lambda other: other["fold"] != event["fold"], run)
        kill(run)
        os.kill(event["pid"], signal.SIGKILL)
        again = matrix.start("run", "--device", "cpu", "--jobs", "2")
        assert again.wait(timeout=SECONDS_TO_WAIT) == 0, matrix.log()

        matrix.check_complete()
        matrix.check_never_together()
        assert f"fold_{1 - int(killed.name[-1])} is at work already, and this run waits for it" in matrix.log()
        assert matrix.resumed(STOCK, int(killed.name[-1])) == 1
        assert dice(killed) == dice(matrix.train_without_a_break(killed))
        assert matrix("run", "--device", "cpu").splitlines()[-1] == "2 folds: 2 done"
