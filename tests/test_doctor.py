"""The doctor finds what is broken, names the remedy, and never breaks itself."""

import os
import shutil
import site
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nnunet_ext import _startup, doctor
from nnunet_ext.doctor import Check, device, discovery, folders, scan, software
from nnunet_ext.doctor.check import survive

COMMAND = Path(sys.executable).with_name("nnunet-ext")
Run = Callable[..., subprocess.CompletedProcess[str]]


def states(checks: Iterable[Check]) -> dict[str, str]:
    return {check.title: check.state for check in checks}


def only(title: str, checks: Iterable[Check]) -> Check:
    return next(check for check in checks if check.title == title)


def raises(error: BaseException) -> Callable[..., Any]:
    def function(*_: Any, **__: Any) -> Any:
        raise error

    return function


def test_every_warning_and_failure_comes_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_results", "/does/not/exist")
    monkeypatch.setenv(scan.VARIABLE, "fastest")
    monkeypatch.delenv(_startup.VARIABLE)
    results = doctor.checks()
    assert {check.title for check in results if check.state == "fail"} >= {"nnUNet_results", _startup.VARIABLE}
    for check in results:
        assert bool(check.fix) == (check.state != "ok"), check


def test_a_check_that_breaks_is_a_finding() -> None:
    for error in (RuntimeError("no kernel\nmore"), OSError("libcudart.so"), SystemExit(3)):
        (check,) = survive("selective scan", raises(error))
        assert check.state == "fail"
        assert check.value.startswith(type(error).__name__)
        assert "\n" not in check.value


@pytest.mark.parametrize("version", ["2.7.1", "2.6", "3.0.0", "3.1rc1"])
def test_wrong_nnunet(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: version)
    check = only("nnunetv2", software.checks())
    assert check.state == "fail"
    assert version in check.value
    assert "nnunetv2>=2.8,<3" in check.fix


@pytest.mark.parametrize("version", ["2.8.0", "2.8.1", "2.10", "2.9.0rc1"])
def test_right_nnunet(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: version)
    assert only("nnunetv2", software.checks()).state == "ok"


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(name="NVIDIA H200", total_memory=141 * 2**30, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80"])


@pytest.mark.usefixtures("one_gpu")
def test_gpu_that_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "ones", lambda *_, **__: SimpleNamespace(sum=lambda: 8.0))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name == "gcc" else None)
    checks = list(device.checks())
    assert only("GPU 0", checks).state == "ok"
    assert "NVIDIA H200, 141 GiB, sm_90" in only("GPU 0", checks).value
    assert only("C compiler", checks) == Check("C compiler", "ok", "/usr/bin/gcc")


@pytest.mark.usefixtures("one_gpu")
def test_gpu_that_torch_has_no_kernels_for_and_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "ones", raises(RuntimeError("CUDA error: no kernel image is available")))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    checks = list(device.checks())
    assert only("GPU 0", checks).state == "fail"
    assert "no kernel image" in only("GPU 0", checks).value
    assert "sm_75 sm_80" in only("GPU 0", checks).fix
    assert only("C compiler", checks).state == "warn"
    assert "nnUNet_compile=f" in only("C compiler", checks).fix


@pytest.mark.usefixtures("one_gpu")
def test_a_slow_scan_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunet_ext.ops.selective_scan.mamba_ssm import MambaSsmBackend
    from nnunet_ext.ops.selective_scan.triton_cuda import TritonBackend

    monkeypatch.delenv(scan.VARIABLE, raising=False)
    monkeypatch.setattr(TritonBackend, "problem", lambda *_: "there is no C compiler")
    monkeypatch.setattr(MambaSsmBackend, "problem", lambda *_: "it is not installed")
    check = only("scan on cuda", scan.checks())
    assert check.state == "warn"
    assert check.value == "torch, slow on a GPU (triton: there is no C compiler; mamba_ssm: it is not installed)"
    assert "gcc" in check.fix
    monkeypatch.setattr(TritonBackend, "problem", lambda *_: None)
    assert only("scan on cuda", scan.checks()).state == "ok"
    monkeypatch.setenv(scan.VARIABLE, "torch")
    assert only("scan on cuda", scan.checks()).fix == f"unset {scan.VARIABLE}"


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "cache_folder", raises(RuntimeError("Could not determine home directory.")))
    monkeypatch.setattr(folders.Path, "home", raises(RuntimeError("Could not determine home directory.")))
    for variable in ("NUMBA_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.delenv(variable, raising=False)
    found = states(folders.checks())
    assert found["numba's cache"] == "warn"
    assert "nnUNet_raw" in found


@pytest.mark.parametrize(
    ("driver", "cuda", "visible", "state", "word"),
    [
        (True, None, None, "fail", "without CUDA"),
        (True, "13.2", None, "fail", "cannot use it"),
        (True, "13.2", "", "warn", "CUDA_VISIBLE_DEVICES"),
        (False, "13.2", None, "warn", "CPU only"),
    ],
)
def test_no_gpu(
    driver: bool, cuda: str | None, visible: str | None, state: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(shutil, "which", lambda name: name if driver and name == "nvidia-smi" else None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    check = only("device", device.checks())
    assert (check.state, word in check.value) == (state, True)


def test_apples_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert "-device mps" in only("device", device.checks()).value


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/shm is Linux's")
@pytest.mark.parametrize(("mib", "state"), [(64, "warn"), (8192, "ok")])
def test_shared_memory(mib: int, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=mib * 2**20, free=0))
    assert only("/dev/shm", device.checks()).state == state


@pytest.mark.parametrize(
    ("choice", "state", "words"),
    [
        (None, "ok", "numba"),
        ("auto", "ok", "numba"),
        ("torch", "ok", f"{scan.VARIABLE}=torch"),
        ("naive", "warn", "slow"),
        ("fastest", "fail", "is no backend"),
        ("mamba_ssm", "fail", "it needs a CUDA device"),
    ],
)
def test_scan_backend_on_a_cpu(choice: str | None, state: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    if choice is not None:
        monkeypatch.setenv(scan.VARIABLE, choice)
    checks = list(scan.checks())
    assert checks[0].state == state
    assert words in checks[0].value
    assert "CUDA" in only("scan mamba_ssm", checks).value


def test_discovery_works_here() -> None:
    assert set(states(discovery.checks()).values()) == {"ok"}


def test_discovery_opted_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_startup.VARIABLE, "/does/not/exist")
    monkeypatch.setenv(_startup.OPT_OUT, "1")
    checks = [check for check in discovery.checks() if check.title == _startup.VARIABLE]
    assert [check.state for check in checks] == ["fail", "warn"]
    assert _startup.OPT_OUT in checks[0].fix
    assert discovery.BY_HAND in checks[0].fix
    assert "/does/not/exist" in checks[1].value


def test_discovery_shadowed_by_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_for_doctor.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class nnUNetTrainerLKMUNet(nnUNetTrainer): pass\n"
    )
    monkeypatch.setenv(_startup.VARIABLE, os.pathsep.join([str(tmp_path), _startup.FOLDER]))
    check = only("nnU-Net's look-up", discovery.checks())
    assert check.state == "warn"
    assert "mine_for_doctor" in check.value


def test_discovery_shadowed_by_nnunet_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    look_up = "nnunetv2.utilities.find_objects.recursive_find_trainer_class_by_name"
    monkeypatch.setattr(look_up, lambda _: nnUNetTrainer)
    check = only("nnU-Net's look-up", discovery.checks())
    assert check.state == "fail"
    assert "nnU-Net's own" in check.value


def test_start_up_files_where_python_runs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "getsitepackages", list)
    monkeypatch.setattr(site, "ENABLE_USER_SITE", False)
    check = only("start-up files", discovery.checks())
    assert check.state == "warn"
    assert check.fix == discovery.BY_HAND


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "missing"))
    monkeypatch.setattr(folders, "DISK_NEEDED", 0)
    found = states(folders.checks())
    assert found["nnUNet_raw"] == "ok"
    assert found["nnUNet_preprocessed"] == "fail"
    assert found["nnUNet_results"] == "warn"
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    assert states(folders.checks())["nnUNet_results"] == "ok"
    monkeypatch.setattr(folders, "DISK_NEEDED", 2**80)
    assert states(folders.checks())["nnUNet_results"] == "warn"


def test_folders_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "NUMBA_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    # Permissions do not stop root, a read-only file system does.
    monkeypatch.setattr("tempfile.TemporaryFile", raises(OSError(30, "Read-only file system")))
    checks = list(folders.checks())
    found = states(checks)
    assert found["nnUNet_raw"] == "ok"
    assert found["nnUNet_preprocessed"] == found["nnUNet_results"] == "fail"
    assert found["numba's cache"] == "warn"
    assert "NUMBA_CACHE_DIR" in only("numba's cache", checks).fix
    assert "Read-only file system" in only("nnUNet_results", checks).value


@pytest.mark.slow
def test_command_on_a_healthy_machine(nnunet_folders: Path, run: Run) -> None:
    done = run(COMMAND, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finds nnUNetTrainerLKMUNet" in done.stdout
    assert str(nnunet_folders / "nnUNet_results") in done.stdout
    assert "0 failed" in done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_command_with_the_torchvision_of_another_torch(tmp_path: Path, run: Run) -> None:
    (tmp_path / "torchvision.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")\n')
    done = run(COMMAND, "doctor", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert "torchvision" in failed
    assert software.TOGETHER in done.stdout
    assert "operator torchvision::nms does not exist" in done.stdout


@pytest.mark.slow
def test_command_where_no_start_up_file_is_run(run: Run) -> None:
    code = "import sys; from nnunet_ext.cli import main; sys.exit(main(['doctor']))"
    path = os.pathsep.join(filter(None, sys.path))
    done = run(sys.executable, "-S", "-c", code, env={"PYTHONPATH": path, _startup.VARIABLE: None})
    assert done.returncode == 1
    assert f"FAIL  {_startup.VARIABLE}" in done.stdout
    assert discovery.BY_HAND in done.stdout
    assert "Python was started with -S" in done.stdout
