"""What is wrong with a matrix is said in one sentence, and nothing is written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nnunet_ext.cli import main as command

from .synthetic import LKM, STOCK, Bench


def no_matrix(bench: Bench) -> None:
    (bench.folder / "matrix.json").unlink()


def half_a_matrix(bench: Bench) -> None:
    (bench.folder / "matrix.json").write_text('{"budget": ')


def no_trainers_key(bench: Bench) -> None:
    del bench.matrix["trainers"]
    bench.write_matrix()


def no_folds(bench: Bench) -> None:
    bench.matrix["folds"] = []
    bench.write_matrix()


def unknown_trainer(bench: Bench) -> None:
    bench.matrix["trainers"] = [STOCK, "nnUNetTrainerLKM"]
    bench.write_matrix()


def nothing_trained(bench: Bench) -> None:
    bench.results.rename(bench.results.with_name("elsewhere"))
    bench.results.mkdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (no_matrix, "holds no matrix.json; `nnunet-ext bench init"),
        (half_a_matrix, "matrix.json cannot be read"),
        (no_trainers_key, "matrix.json lacks 'trainers'"),
        (no_folds, "names no folds"),
        (unknown_trainer, "the trainer nnUNetTrainerLKM, of which"),
        (nothing_trained, "No fold of the matrix has finished below"),
    ],
)
def test_one_sentence(
    spoil: Callable[[Bench], None],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = Bench(tmp_path, [STOCK, LKM], folds=1)
    bench.train(STOCK, lambda case, name: 0.8, cases=2)
    monkeypatch.setenv("nnUNet_results", str(bench.results))
    spoil(bench)
    assert command(["bench", "report", str(bench.folder), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_results_folder_is_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("nnUNet_results", raising=False)
    bench = Bench(tmp_path, [STOCK], folds=1)
    assert command(["bench", "report", str(bench.folder)]) == 1
    assert "nnUNet_results is not set" in capsys.readouterr().err


def test_data_set_without_images_must_be_in_the_matrix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    bench = Bench(tmp_path, [STOCK], folds=1)
    assert command(["bench", "report", str(bench.folder), "--without-images", "12"]) == 1
    assert "The matrix has no data set 12" in capsys.readouterr().err


def test_user_trainer_with_results_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, ["nnUNetTrainerMine"], folds=1)
    bench.train("nnUNetTrainerMine", lambda case, name: 0.8, cases=2)
    monkeypatch.setenv("nnUNet_results", str(bench.results))
    assert command(["bench", "report", str(bench.folder)]) == 0
    assert json.loads((bench.folder / "matrix.json").read_text())["trainers"] == ["nnUNetTrainerMine"]
    assert (bench.folder / "report" / "report.html").is_file()
