"""`nnunet-ext predict`: one bad case does not touch the others, and everything is said in a sentence."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from bomb import PLANTED, Bomb, plant_in_plans

from nnunet_ext import cli

from .conftest import WriteCase

Captured = pytest.CaptureFixture[str]


def _predict(model: Path, images: Path, out: Path, *more: str) -> int:
    return cli.main(["predict", "-m", str(model), "-i", str(images), "-o", str(out), "-device", "cpu", *more])


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_good_cases_among_bad_ones(model: Path, write_case: WriteCase, tmp_path: Path, capsys: Captured) -> None:
    images = tmp_path / "Bilder für alle"
    spacing = (1.5, 1.0, 0.75)  # NIfTI has them as float32
    write_case(images, "ein Fall, größer", (20, 33, 31), spacing, channels=2)
    write_case(images, "z last", channels=2)
    for name in ("cut", "half a file", "no image", "no gzip", "empty"):
        write_case(images, name, channels=2)
    whole = gzip.decompress((images / "cut_0001.nii.gz").read_bytes())
    (images / "cut_0001.nii.gz").write_bytes(gzip.compress(whole[: len(whole) // 2]))
    half = images / "half a file_0001.nii.gz"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    (images / "no image_0000.nii.gz").write_bytes(gzip.compress(b"words" * 1000))
    (images / "no gzip_0000.nii.gz").write_bytes(b"words" * 1000)
    (images / "empty_0000.nii.gz").write_bytes(b"")
    write_case(images, "lost", channels=1)
    write_case(images, "more", channels=3)
    write_case(images, "other size", channels=2)
    write_case(images, "other size", (30, 36, 34), channels=1)
    shutil.copy(images / "z last_0000.nii.gz", images / "nameless.nii.gz")
    (images / "wrong_0000.mha").write_bytes(b"an image")
    (images / "notes.txt").write_text("not an image")

    out = tmp_path / "out"
    assert _predict(model, images, out) == 1
    said = capsys.readouterr()
    assert _files(out) == {"plans.json", "dataset.json", "ein Fall, größer.nii.gz", "z last.nii.gz"}
    failures = {line.split(": ")[1]: line for line in said.err.splitlines() if line.startswith("failed: ")}
    assert len(failures) == len(said.err.splitlines()) == 10, said.err
    for case, reason in {
        "cut": "cut_0000.nii.gz, cut_0001.nii.gz cannot be read: cut_0001.nii.gz ends after ",
        "half a file": "cannot be read: ",
        "no image": "cannot be read: ",
        "no gzip": "cannot be read: ",
        "empty": "cannot be read: ",
        "lost": "expected 2 channels (T1, T2), found 1",
        "more": "more_0002.nii.gz is one too many, the model takes 2 channels",
        "other size": "cannot be read: ERROR! Not all input images have the same shape!",
        "nameless.nii.gz": "no channel in the name, expected nameless_0000.nii.gz",
        "wrong_0000.mha": "wrong ending, the model was trained on .nii.gz",
    }.items():
        assert reason in failures[case]
        assert str(tmp_path) not in failures[case].split(reason)[0]
    assert said.out.splitlines()[-1] == f"2 written to {out}, 10 failed, on cpu"
    labels = SimpleITK.ReadImage(str(out / "ein Fall, größer.nii.gz"))
    assert labels.GetSpacing() == spacing[::-1]
    assert labels.GetOrigin() == (0.0, 7.0, 14.0)
    assert labels.GetSize() == (31, 33, 20)
    assert set(np.unique(SimpleITK.GetArrayFromImage(labels))) <= {0, 1, 2}
    assert json.loads((out / "dataset.json").read_text())["labels"] == {"background": 0, "left": 1, "right": 2}


def test_continuing_leaves_what_is_there(model: Path, write_case: WriteCase, tmp_path: Path, capsys: Captured) -> None:
    for name in ("a", "b"):
        write_case(tmp_path / "images", name, (20, 20, 20), channels=2)
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.nii.gz").write_text("mine")
    assert _predict(model, tmp_path / "images", out, "--continue_prediction") == 0
    assert (out / "a.nii.gz").read_text() == "mine"
    assert capsys.readouterr().out.splitlines()[-1] == f"1 written to {out}, 1 were there, 0 failed, on cpu"
    assert _predict(model, tmp_path / "images", out) == 0
    assert (out / "a.nii.gz").read_bytes() == (out / "b.nii.gz").read_bytes()


def _refused(code: int, told: str, capsys: Captured) -> None:
    assert code == 1
    said = capsys.readouterr()
    assert told in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (None, "images is no folder: give the folder of the images"),
        ([], "images holds nothing: expected NAME_0000.nii.gz"),
        (["notes.txt"], "images holds no image (the first file: notes.txt): expected NAME_0000.nii.gz"),
    ],
)
def test_a_folder_without_cases(
    files: list[str] | None, told: str, model: Path, tmp_path: Path, capsys: Captured
) -> None:
    if files is not None:
        (tmp_path / "images").mkdir()
    for name in files or ():
        (tmp_path / "images" / name).touch()
    _refused(_predict(model, tmp_path / "images", tmp_path / "out"), told, capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-f", "3"], "checkpoint_final.pth is missing: the folds with one are 0"),
        (["-f", "0", "-chk", "checkpoint_best.pth"], "checkpoint_best.pth is missing: no fold has one"),
        (["-chk", "checkpoint_best.pth"], "has no fold_*/checkpoint_best.pth"),
        (["-chk", "../checkpoint_best.pth"], "'../checkpoint_best.pth', expected a file's name"),
        (["-prev_stage_predictions", "there"], "-prev_stage_predictions is there, the model needs none"),
    ],
)
def test_wrong_options(options: list[str], told: str, model: Path, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "images").mkdir()
    _refused(_predict(model, tmp_path / "images", tmp_path / "out", *options), told, capsys)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_absent_device(model: Path, tmp_path: Path, capsys: Captured) -> None:
    code = cli.main(["predict", "-m", str(model), "-i", "images", "-o", "out", "-device", "cuda"])
    _refused(code, "torch sees no cuda here: use cpu", capsys)


def test_what_is_no_device(model: Path, capsys: Captured) -> None:
    code = cli.main(["predict", "-m", str(model), "-i", "images", "-o", "out", "-device", "gpu"])
    _refused(code, "there is no device 'gpu': use cuda, mps, cpu", capsys)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-i", "images"], "give -i INPUT and -o OUTPUT"),
        (["--warm", "-o", "out"], "or --warm without them"),
        (["-i", "images", "-o", "out", "-step_size", "0"], "-step_size is 0.0, expected more than 0"),
        (["-i", "images", "-o", "out", "--max-memory", "-1"], "--max-memory is -1.0, expected 0 or more"),
        (["-i", "images", "-o", "out", "-f", "../fold_0"], "-f has '../fold_0', expected numbers or all"),
    ],
)
def test_wrong_usage(options: list[str], told: str, model: Path, capsys: Captured) -> None:
    assert cli.main(["predict", "-m", str(model), *options]) == 2
    assert told in capsys.readouterr().err


def test_a_pickle_bomb_does_not_go_off(model: Path, tmp_path: Path, capsys: Captured) -> None:
    bomb = Bomb(tmp_path / "the bomb went off")
    mine = shutil.copytree(model, tmp_path / model.parent.name / model.name)
    file = mine / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(file, weights_only=True) | {"logging": bomb}, file)
    (tmp_path / "images").mkdir()
    told = "it holds posix.mkdir, neither a tensor nor a plain value, which could be code"
    _refused(_predict(mine, tmp_path / "images", tmp_path / "out"), told, capsys)
    assert not bomb.target.exists()


def test_plans_that_name_code(model: Path, tmp_path: Path, capsys: Captured) -> None:
    mine = shutil.copytree(model, tmp_path / model.parent.name / model.name)
    plant_in_plans(mine, tmp_path / "the bomb went off")
    (tmp_path / "images").mkdir()
    _refused(_predict(mine, tmp_path / "images", tmp_path / "out"), PLANTED, capsys)
    assert not (tmp_path / "the bomb went off").exists()


def test_weights_of_another_network(model: Path, tmp_path: Path, capsys: Captured) -> None:
    mine = shutil.copytree(model, tmp_path / model.parent.name / model.name)
    plans = json.loads((mine / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] = [8, 16, 24]
    (mine / "plans.json").write_text(json.dumps(plans))
    _refused(_predict(mine, tmp_path, tmp_path / "out"), "cannot be loaded (RuntimeError: Error(s)", capsys)


def test_warming_runs_the_network(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunet_ext.inference.predictor import Predictor

    tiles = []
    run = Predictor._internal_maybe_mirror_and_predict
    monkeypatch.setattr(
        Predictor,
        "_internal_maybe_mirror_and_predict",
        lambda self, voxels: (tiles.append(tuple(voxels.shape)), run(self, voxels))[1],
    )
    assert cli.main(["predict", "-m", str(model), "-device", "cpu", "--warm"]) == 0
    assert tiles == [(1, 2, 32, 32, 32)]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--warm"], "interrupted"),
        (["-i", "images", "-o", "out"], "interrupted; --continue_prediction goes on with the next case"),
    ],
)
def test_an_interruption(
    options: list[str], told: str, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nnunet_ext.inference.loading.load", interrupt)
    assert cli.main(["predict", "-m", str(model), *options]) == 130
    assert capsys.readouterr().err == f"nnunet-ext predict: {told}\n"


@pytest.mark.parametrize("max_memory", ["0", "4"])
def test_a_disk_without_room(
    max_memory: str, model: Path, write_case: WriteCase, tmp_path: Path, capsys: Captured
) -> None:
    resource = pytest.importorskip("resource")
    write_case(tmp_path / "images", "case", (40, 40, 40), channels=2)
    largest = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, largest[1]))
    try:
        code = _predict(model, tmp_path / "images", tmp_path / "out", "--max-memory", max_memory)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, largest)
    said = capsys.readouterr().err
    if max_memory == "0":
        assert code == 1
        assert "no room for 0.0 GiB of logits in " in said
        assert "set TMPDIR to a folder with more room, or give more --max-memory" in said
        assert _files(tmp_path / "out") == {"plans.json", "dataset.json"}
    else:
        assert code == 0
