"""What all tests share: a clean environment, fixed seeds, and skipping what this machine cannot run."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import one_engine
import one_node
import pytest

from nnunet_ext import _startup

# Before anything imports torch, numpy or nnU-Net: the user's own settings must not decide whether a test passes.
for _variable in list(os.environ):
    if _variable.startswith(("nnUNet_", "NNUNET_EXT_")):
        del os.environ[_variable]
_startup.register()
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # two processes run the tests on two cores
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads slow down the other processes of a test
os.environ.setdefault("MPLBACKEND", "agg")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a script, where Ctrl+C is ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)

Run = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, the tests whose hardware or service is absent."""
    absent = {"gpu": _no_gpu, "slurm": _no_slurm, "docker": _no_docker}
    for marker, reason_of in absent.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        reason = reason_of() if marked else ""
        for item in marked:
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def _no_gpu() -> str:
    import torch

    return "" if torch.cuda.is_available() else "needs a CUDA device"


def _no_slurm() -> str:
    return one_node.reason_against()


def _no_docker() -> str:
    return one_engine.reason_against()


@pytest.fixture(autouse=True)
def _same_every_time() -> None:
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)  # the global generator, as nnU-Net draws from it
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
        torch.set_num_threads(2)


@pytest.fixture
def nnunet_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty nnUNet_raw, nnUNet_preprocessed and nnUNet_results in the folder that it returns, set for this test."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


@pytest.fixture(scope="session")
def run() -> Run:
    """run(*command, env={...}, cwd=..., timeout=...): a command as users start it; a variable of None is unset."""

    def run_command(
        *command: str | Path, env: dict[str, str | None] | None = None, cwd: Path | None = None, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        merged = {name: value for name, value in {**os.environ, **(env or {})}.items() if value is not None}
        arguments: Sequence[str] = [str(part) for part in command]
        return subprocess.run(arguments, env=merged, cwd=cwd, timeout=timeout, capture_output=True, text=True)

    return run_command
