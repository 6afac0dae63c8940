"""The path of `nnunet-ext`, in environments that keep it elsewhere."""

import site
import sys
import sysconfig
from pathlib import Path

import pytest

from nnunet_ext import cli
from nnunet_ext.benchmark import workflow
from nnunet_ext.benchmark.errors import BenchmarkError
from nnunet_ext.benchmark.own_command import own_command
from nnunet_ext.benchmark.workflow import Options

from .conftest import Benchmark


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which Python and everything else seems to be."""
    folder = tmp_path / "environment"
    folder.mkdir()
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setattr(sys, "argv", ["-c"])
    monkeypatch.setattr(sysconfig, "get_path", lambda name, scheme="": str(folder / scheme / name))
    monkeypatch.setattr(sysconfig, "get_preferred_scheme", lambda _: "user")
    monkeypatch.setattr(site, "ENABLE_USER_SITE", True)
    monkeypatch.setenv("PATH", str(folder / "path"))
    return folder


def _install(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nnunet-ext"
    path.touch(0o755)
    return str(path)


def test_the_nearest_is_taken(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(nowhere / "target" / "bin" / "nnunet-ext")])
    # From the least to the most certain to be of this Python.
    for folder in ("path", "user/scripts", "target/bin", ".", "scripts"):
        expected = _install(nowhere / folder)
        assert own_command() == expected


def test_the_users_commands_are_not_those_of_a_virtual_environment(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "ENABLE_USER_SITE", False)
    _install(nowhere / "user" / "scripts")
    expected = _install(nowhere / "path")
    assert own_command() == expected


def test_the_working_directory_is_no_place_for_commands(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(nowhere / "here")
    monkeypatch.chdir(nowhere / "here")
    expected = _install(nowhere / "path")
    assert own_command() == expected


def test_a_command_that_is_nowhere_is_said(
    nowhere: Path, benchmark: Benchmark, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", "list", str(benchmark.folder)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("nnunet-ext bench: The command nnunet-ext is neither beside")
    assert said.count("\n") == 1
    with pytest.raises(BenchmarkError, match="neither beside"):
        workflow.arguments(benchmark.folder, benchmark.matrix.all_folds(), Options(device="cpu"))
