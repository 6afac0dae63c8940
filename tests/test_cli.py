"""The command `nnunet-ext` as users type it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nnunet_ext import __version__, _startup

COMMAND = Path(sys.executable).with_name("nnunet-ext")
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_version_and_path(run: Run) -> None:
    assert run(COMMAND, "--version").stdout == f"nnunet-ext {__version__}\n"
    assert run(COMMAND, "path").stdout == f"{_startup.FOLDER}\n"
    assert run(COMMAND, "path", env={_startup.OPT_OUT: "1"}).stdout == f"{_startup.FOLDER}\n"


def test_help_names_every_command(run: Run) -> None:
    done = run(COMMAND, "--help")
    assert done.returncode == 0
    commands = ("path", "doctor", "list", "plan", "convert", "demo", "evaluate", "bench", "export", "predict")
    for command in (*commands, "import-checkpoint", "container", "bench-scan"):
        assert re.search(rf"\n    {command}\s", done.stdout), command


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["foo"], "invalid choice: 'foo' (choose from"),
        (["path", "there"], "unrecognized arguments: there"),
        (["demo", "--device", "tpu"], "argument --device: invalid choice: 'tpu'"),
        (["demo", "--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
    ],
)
def test_wrong_usage_is_said_in_one_sentence_with_code_2(arguments: list[str], sentence: str, run: Run) -> None:
    done = run(COMMAND, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("usage: nnunet-ext")
    assert sentence in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_nothing_is_said_when_the_reader_leaves(unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run([COMMAND, "path"], stdout=writer, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_list_prints_every_trainer_whole(run: Run) -> None:
    from nnunet_ext import catalogue

    done = run(COMMAND, "list", env={"COLUMNS": "80"})
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80
    words = done.stdout.split()
    for entry in catalogue.ENTRIES:
        assert entry.trainer in words
    for ending in catalogue.SHORT_VARIANTS:
        assert f"_{ending}" in done.stdout
