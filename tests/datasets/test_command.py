"""`nnunet-ext convert` as users type it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nnunet_ext.cli import main
from nnunet_ext.datasets.registry import BENCHMARKS

COMMAND = Path(sys.executable).with_name("nnunet-ext")
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_list_names_everything(run: Run) -> None:
    done = run(COMMAND, "convert", "--list", env={"COLUMNS": "80"})
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    words = done.stdout.split()
    for benchmark in BENCHMARKS.values():
        assert {benchmark.name, str(benchmark.dataset_id), *benchmark.splits} <= {word.rstrip(":") for word in words}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "NAME and SOURCE are needed"),
        (["flare22"], "NAME and SOURCE are needed"),
        (["flare", "x"], "'flare' is no benchmark here; there are flare22, amos22-ct"),
        (["synapse", "x", "--split", "half"], "synapse has no split 'half'; it has transunet, unetr, crossval"),
        (["word", "x", "-d", "1000"], "-d 1000: nnU-Net's numbers go from 1 to 999"),
        (["word", "x", "-np", "0"], "-np 0: at least one process"),
        (["word", "x", "--grey"], "belong to images-masks"),
        (["images-masks", "x"], "Name the background first"),
        (["images-masks", "x", "--labels", "disc=1", "background=0"], "Name the background first"),
        (["images-masks", "x", "--labels", "background=0", "a=one"], "--labels a=one: expected NAME=VALUE"),
        (["images-masks", "x", "--labels", "background=0", "a=1", "a=2"], "each name once"),
        (["images-masks", "x", "--labels", "background=0", "a=0"], "Two labels have the same value"),
        (["images-masks", "x", "--labels", "background=0", "a=1", "--dataset-name", "a b"], "letters, digits and _"),
    ],
)
def test_wrong_usage_is_said_with_code_2(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_folders_that_are_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert main(["convert", "word", str(tmp_path)]) == 1
    assert "nnUNet_raw is not set" in capsys.readouterr().err
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "gone"))
    assert main(["convert", "word", str(tmp_path)]) == 1
    assert "which is no folder" in capsys.readouterr().err


def test_the_parser_needs_no_heavy_library(run: Run) -> None:
    code = (
        "import sys; from nnunet_ext import cli; cli._parser(); "
        "print([name for name in ('torch', 'numpy', 'pandas', 'nibabel') if name in sys.modules])"
    )
    assert run(sys.executable, "-c", code).stdout == "[]\n"
