"""`nnunet-ext bench status` and `cost`, on results as nnU-Net leaves them."""

import json
import os
from dataclasses import replace

import pytest

from nnunet_ext import cli
from nnunet_ext.benchmark.folders import RUN_LOCK, failure_file
from nnunet_ext.locks import Lock, Owner

from ..test_locks import leave_lock
from .conftest import Benchmark


def _lines(capsys: pytest.CaptureFixture[str], *command: str) -> list[str]:
    assert cli.main(["bench", *command]) == 0
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_every_state_is_told_apart(benchmark: Benchmark, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.finish(0)
    benchmark.train(1, epochs=2, seconds=8.25)
    benchmark.train(2, epochs=1, seconds=4.0)
    failure = failure_file(benchmark.folder, benchmark.fold(2).job)
    failure.parent.mkdir(parents=True)
    failure.write_text("Traceback (most recent call last):\n  File x\ntorch.OutOfMemoryError: CUDA out of memory.\n")
    benchmark.train(3, epochs=3, seconds=4.0)
    lock = benchmark.place(3) / "nnunet_ext_job.lock"
    leave_lock(lock, replace(Owner.myself(), started=1))
    with Lock(benchmark.place(1) / "nnunet_ext_job.lock"):
        lines = _lines(capsys, "status", str(benchmark.folder))
        with Lock(benchmark.folder / RUN_LOCK):
            at_work = _lines(capsys, "status", str(benchmark.folder))

    stock = "Dataset004_Hippocampus nnUNetTrainer_5epochs"
    me = Owner.myself()
    process = f"process {os.getpid()} on {me.host}" + (f", SLURM job {me.slurm_job}" if me.slurm_job else "")
    assert f"{stock} 0 done 5/5 2.0" in lines
    assert f"{stock} 1 running 3/5 8.2 {process}" in lines
    assert f"{stock} 2 failed 2/5 4.0 torch.OutOfMemoryError: CUDA out of memory." in lines
    assert f"{stock} 3 stopped 4/5 4.0 {process} was killed" in lines
    assert f"{stock} 4 open 0/5" in lines
    assert lines[-1] == "10 folds: 1 done, 6 open, 1 running, 1 failed, 1 stopped"
    assert f"{stock} 4 queued 0/5" in at_work
    assert f"{stock} 3 queued 4/5 4.0 {process} was killed" in at_work


def test_a_fold_is_not_done_before_its_validation(benchmark: Benchmark, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.finish(0)
    summary = benchmark.place(0) / "validation" / "summary.json"
    summary.write_text(summary.read_text()[:-20])
    with Lock(benchmark.place(0) / "nnunet_ext_job.lock"):
        lines = _lines(capsys, "status", str(benchmark.folder))
    assert any("nnUNetTrainer_5epochs 0 running 5/5 2.0 validating, process" in line for line in lines)


def test_epochs_of_a_resumed_training_and_of_a_recipe_with_its_own_length(
    benchmark: Benchmark, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark.train(0, epochs=3, seconds=2.0, log="2026_9_30_12_00_00")
    old = benchmark.place(0) / "training_log_2026_9_30_12_00_00.txt"
    os.utime(old, (1, 1))
    benchmark.train(0, epochs=1, seconds=6.0, log="2026_10_1_12_00_00")  # sorts before September
    (benchmark.place(0) / "debug.json").write_text(json.dumps({"num_epochs": "120"}))
    lines = _lines(capsys, "status", str(benchmark.folder))
    assert "Dataset004_Hippocampus nnUNetTrainer_5epochs 0 stopped 2/120 2.0" in lines


def test_cost_from_measured_epochs_only(benchmark: Benchmark, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.finish(0)
    record = {"seconds": 7200, "device": "NVIDIA Something"}
    (benchmark.place(0) / "nnunet_ext_job.json").write_text(json.dumps(record))
    benchmark.train(1, epochs=2, seconds=1800.0)
    lines = _lines(capsys, "cost", str(benchmark.folder))
    data = "Dataset004_Hippocampus 3d_fullres"
    # Of folds 1 to 4 three, five, five and five epochs are missing; an epoch takes the median of 2 and 1800 s.
    assert f"{data} nnUNetTrainer_5epochs 1/5 901.0 2.00 {18 * 901 / 3600:.2f} NVIDIA Something" in lines
    assert f"{data} nnUNetTrainerLKMUNet_5epochs 0/5 unknown 0.00 unknown" in lines
    assert lines[-1].startswith("Spent: 2.00 device hours.")
    assert "1 of 2 rows unknown" in lines[-1]


def test_without_a_matrix_or_folders_one_sentence(
    benchmark: Benchmark, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["bench", "status", str(benchmark.folder.parent)]) == 1
    assert "holds no matrix.json" in capsys.readouterr().err
    monkeypatch.delenv("nnUNet_results")
    assert cli.main(["bench", "status", str(benchmark.folder)]) == 1
    assert capsys.readouterr().err.startswith("nnunet-ext bench: nnUNet_results is not set")
