"""One GPU per training on a machine with several."""

import os
import shlex
from pathlib import Path

import pytest

from nnunet_ext.benchmark.devices import leased, needs_lease, visible_devices
from nnunet_ext.benchmark.workflow import Options, arguments
from nnunet_ext.locks import LockedError

from .conftest import Benchmark


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose nvidia-smi tells of two GPUs."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho GPU-5d5ba0d6\necho GPU-b1c2d3e4\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    for variable in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.usefixtures("two_gpus")
def test_devices_are_those_that_the_user_left_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    assert visible_devices() == ["GPU-5d5ba0d6", "GPU-b1c2d3e4"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 3")
    assert visible_devices() == ["1", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_devices() == []


def test_two_trainings_get_two_devices_and_a_third_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class WaitsError(Exception):
        pass

    def wait(_: float) -> None:
        raise WaitsError

    monkeypatch.setattr("nnunet_ext.benchmark.devices.time.sleep", wait)
    with leased(tmp_path, ["0", "1"]) as one, leased(tmp_path, ["0", "1"]) as other:
        assert {one, other} == {"0", "1"}
        with pytest.raises(WaitsError), leased(tmp_path, ["0", "1"]):
            pass
    with leased(tmp_path, ["0", "1"]) as again, pytest.raises(LockedError):
        raise LockedError(again)  # what goes wrong inside is not taken for a device that is not free


def test_a_slurm_job_with_one_gpu_needs_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    assert not needs_lease(["0"])
    assert needs_lease(["0", "1"])
    monkeypatch.delenv("SLURM_JOB_ID")
    assert needs_lease(["0"])
    assert not needs_lease([])


def _told(benchmark: Benchmark, options: Options) -> str:
    return shlex.join(arguments(benchmark.folder, [benchmark.fold(0)], options))


@pytest.mark.usefixtures("two_gpus")
def test_as_many_trainings_as_gpus(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("nnUNet_n_proc_DA", "nnUNet_def_n_proc"):
        monkeypatch.setenv(variable, "1")
    assert "--cores 2 " in _told(benchmark, Options())
    assert "--cores 1 " in _told(benchmark, Options(device="cpu"))
    assert "--cores 3 " in _told(benchmark, Options(device="cpu", jobs=3))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "--cores 1 " in _told(benchmark, Options())


def test_a_slurm_job_asks_for_a_gpu_unless_told_otherwise(benchmark: Benchmark) -> None:
    assert "device=cuda" in _told(benchmark, Options(slurm=True))
    assert "gpus=1" in _told(benchmark, Options(slurm=True))
    assert "gpus=0" in _told(benchmark, Options(slurm=True, device="cpu"))
    assert "runtime=90" in _told(benchmark, Options(slurm=True, hours=1.5))
