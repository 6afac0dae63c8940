"""`nnunet-ext demo` as a user starts it, on a small dataset: report, honest exit code, and a quick second run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .raw import contents, write_raw

SECONDS = 900


def _demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("nnunet-ext")), "demo", *arguments, "--device", "cpu"]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)


@pytest.mark.slow
def test_demo_from_folder_to_report(tmp_path: Path) -> None:
    source = write_raw(tmp_path / "Dataset123_Balls", cases=6, test=2)
    before = contents(source)
    out = tmp_path / "out"
    arguments = ("--data", str(source), "--epochs", "1", "--out", str(out))
    first = _demo(*arguments)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "] Train nnUNetTrainerLKMUNet" in first.stdout
    assert contents(source) == before

    report = json.loads((out / "report.json").read_text())
    assert [network["trainer"] for network in report["networks"]] == ["nnUNetTrainerLKMUNet", "nnUNetTrainer"]
    assert report["epochs"] == 1
    assert report["test_cases"] == 2
    assert all(network["parameters"] > 1000 for network in report["networks"])
    assert all(len(network["train_loss"]) == 1 for network in report["networks"])
    assert (out / "report.html").stat().st_size > 20_000

    second = _demo(*arguments)
    assert second.returncode == 0
    assert "] Train " not in second.stdout

    # A training that cannot work ends with the log's last lines, not with a stack trace of ours.
    (out / "steps" / "train_nnUNetTrainer.json").unlink()
    for path in (out / "nnUNet_preprocessed" / "Dataset123_Balls" / "nnUNetPlans_3d_fullres").iterdir():
        path.unlink()
    third = _demo(*arguments)
    assert third.returncode == 1
    assert "train_nnUNetTrainer.log" in third.stdout
