"""`nnunet-ext evaluate` as users type it: the two files, incomplete folders, trained models."""

import csv
import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnunet_ext.cli import main

from .masks import DATA, body, real, shifted, write

LABELS = {"background": 0, "Anterior": 1, "Posterior": 2}
CASES = ("hippocampus_023", "hippocampus_033", "hippocampus_074")
BAD_CASES = {
    "elsewhere": "a corner of its volume is 30 mm from the reference's",
    "smaller": "the prediction's shape is (20, 20, 20), the reference's (24, 30, 14)",
    "unknown": "the prediction holds the value 7, which is none of the labels 0, 1, 2",
    "half": "half.nii.gz holds the value 0.5; labels are integers from 0 to 65535",
    "broken": "broken.nii.gz is not readable",
    "missing": "no prediction",
    "extra": "no reference for extra.nii.gz",
}


def _dataset_json(folder: Path, labels: dict[str, Any] = LABELS) -> Path:
    path = folder / "dataset.json"
    path.write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}))
    return path


def _evaluate(protocol: str, *arguments: str | Path) -> int:
    return main(["evaluate", "--protocol", protocol, *map(str, arguments)])


def _files(folder: Path, protocol: str) -> tuple[list[dict[str, str]], dict[str, Any]]:
    with (folder / f"evaluation_{protocol}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((folder / f"evaluation_{protocol}.json").read_text())


@pytest.fixture
def hippocampus(tmp_path: Path) -> Path:
    """Three real cases in ref/ and the same one voxel further in pred/, with their dataset.json."""
    for case in CASES:
        values, spacing = real(f"Hippocampus_MSD04/labelsTr/{case}.nii.gz")
        shutil.copy(DATA / "Hippocampus_MSD04/labelsTr" / f"{case}.nii.gz", _made(tmp_path / "ref"))
        write(tmp_path / "pred" / f"{case}.nii.gz", shifted(values, (1, 0, 0)), spacing)
        _keep_geometry(tmp_path / "ref" / f"{case}.nii.gz", tmp_path / "pred" / f"{case}.nii.gz")
    _dataset_json(tmp_path)
    return tmp_path


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _keep_geometry(reference: Path, prediction: Path) -> None:
    import nibabel

    values = np.asarray(nibabel.load(prediction).dataobj)
    nibabel.save(nibabel.Nifti1Image(values, nibabel.load(reference).affine), prediction)


def test_two_files_of_a_whole_folder(hippocampus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _evaluate("nnunet", hippocampus / "ref", hippocampus / "pred", "--out", hippocampus / "out", "-np", 2) == 0
    rows, summary = _files(hippocampus / "out", "nnunet")
    assert list(rows[0]) == ["case", "class", "metric", "unit", "value"]
    assert {row["case"] for row in rows} == set(CASES)
    assert {row["class"] for row in rows} == {"Anterior", "Posterior"}
    assert {row["unit"] for row in rows} == {"1", "mm", "ml"}
    assert (summary["n_cases"], summary["complete"], summary["failed_cases"]) == (3, True, {})
    dice = [float(row["value"]) for row in rows if (row["class"], row["metric"]) == ("Anterior", "Dice")]
    assert all(0.8 < value < 1 for value in dice)
    assert summary["mean"]["Anterior"]["Dice"] == pytest.approx(np.mean(dice))
    both = [summary["mean"][name]["Dice"] for name in ("Anterior", "Posterior")]
    assert summary["foreground_mean"]["Dice"] == pytest.approx(np.mean(both))
    assert summary["units"]["HD95"] == "mm"
    assert set(summary["compared_by"]) <= set(summary["foreground_mean"])
    assert {"protocol", "notes", "source", "versions", "date", "how_averaged"} < set(summary)
    printed = capsys.readouterr().out
    assert "HD95 [mm]" in printed
    assert "INCOMPLETE" not in printed
    assert not list((hippocampus / "out").glob(".*"))


def test_processes_change_nothing(hippocampus: Path) -> None:
    contents = []
    for processes in (1, 3):
        out = hippocampus / str(processes)
        assert _evaluate("amos", hippocampus / "ref", hippocampus / "pred", "--out", out, "-np", processes) == 0
        contents.append((out / "evaluation_amos.csv").read_text())
    assert contents[0] == contents[1]
    assert "Anterior,NSD,1," in contents[0]


def test_bad_cases_are_named_and_the_others_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = body(0).astype(np.uint8)
    for case in ("good", *BAD_CASES):
        write(tmp_path / "ref" / f"{case}.nii.gz", values)
        write(tmp_path / "pred" / f"{case}.nii.gz", values, shift=30 if case == "elsewhere" else 0)
    pred = tmp_path / "pred"
    write(pred / "smaller.nii.gz", np.ones((20, 20, 20)))
    write(pred / "unknown.nii.gz", np.where(values, 7, 0))
    _write_halves(pred / "half.nii.gz")
    (pred / "broken.nii.gz").write_bytes((pred / "good.nii.gz").read_bytes()[:300])
    (pred / "missing.nii.gz").unlink()
    (tmp_path / "ref" / "extra.nii.gz").unlink()
    (pred / "._good.nii.gz").write_bytes(b"left by macOS")
    assert _evaluate("nnunet", tmp_path / "ref", pred, "--dataset-json", _dataset_json(tmp_path), "-np", 1) == 1
    rows, summary = _files(pred, "nnunet")
    assert {row["case"] for row in rows} == {"good"}
    assert (summary["n_cases"], summary["complete"]) == (1, False)
    assert summary["how_averaged"].startswith("INCOMPLETE: 7 of 8 cases are missing from these means.")
    printed = capsys.readouterr().out
    assert summary["failed_cases"].keys() == BAD_CASES.keys()
    for case, reason in BAD_CASES.items():
        assert reason in summary["failed_cases"][case]
        assert f"not scored: {case}: " in printed
    assert "INCOMPLETE" in printed
    assert summary["mean"]["Anterior"]["Dice"] == 1
    assert summary["mean"]["Posterior"]["Dice"] is None
    assert [row["value"] for row in rows if (row["class"], row["metric"]) == ("Posterior", "Dice")] == [""]


def _write_halves(path: Path) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(0.5 * body(0).astype(np.float32), np.eye(4)), path)


def _one_case(folder: Path) -> list[Path]:
    for name in ("ref", "pred"):
        write(folder / name / "case.nii.gz", body(0))
    _dataset_json(folder)
    return [folder / "ref", folder / "pred"]


def test_a_place_that_takes_nothing_is_said_before_cases_are_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = _one_case(tmp_path)
    (tmp_path / "out").write_text("a file where the folder should be")
    monkeypatch.setattr("nnunet_ext.evaluation.evaluate.evaluate", lambda *_: pytest.fail("cases were scored"))
    assert _evaluate("transunet", *folders, "--out", tmp_path / "out", "-np", 1) == 1
    assert "nothing half-written was left" in capsys.readouterr().err


def test_a_disk_that_fills_up_costs_no_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folders = _one_case(tmp_path)
    monkeypatch.setattr("nnunet_ext.evaluation.summary.write_text", full)
    assert _evaluate("transunet", *folders, "--out", tmp_path / "new" / "out", "-np", 1) == 1
    printed = capsys.readouterr()
    assert "No space left on device; nothing half-written was left" in printed.err
    assert "1.0000" in printed.out
    assert "written" not in printed.out
    assert not list((tmp_path / "new" / "out").iterdir())


def test_rounded_headers_are_the_same_geometry(tmp_path: Path) -> None:
    for name, shift in (("ref", 0.0), ("pred", 1e-4)):
        write(tmp_path / name / "case.nii.gz", body(0), (0.7, 0.7, 5.0), shift)
    _dataset_json(tmp_path)
    assert _evaluate("word", tmp_path / "ref", tmp_path / "pred", "-np", 1) == 0


def test_palette_masks_are_named(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("ref", "pred"):
        image = Image.fromarray(body(0, (30, 40)).astype(np.uint8))
        if name == "pred":
            image = image.convert("P")
            image.putpalette([0, 0, 0, 255, 0, 0])
        image.save(_made(tmp_path / name) / "case.png")
    _dataset_json(tmp_path)
    assert _evaluate("nnunet", tmp_path / "ref", tmp_path / "pred", "-np", 1) == 1
    assert "is a colour image" in _files(tmp_path / "pred", "nnunet")[1]["failed_cases"]["case"]


def test_other_formats_give_the_same_numbers(tmp_path: Path) -> None:
    import SimpleITK

    found = []
    for ending in (".nii.gz", ".nii", ".mha", ".nrrd", ".gipl"):
        for i, name in enumerate(("ref", "pred")):
            image = SimpleITK.GetImageFromArray(body(i).astype(np.uint8).T)
            image.SetSpacing((0.7, 1.3, 5.0))
            image.SetOrigin((-3.0, 7.0, 11.0))
            SimpleITK.WriteImage(image, _made(tmp_path / f"{name}{ending}") / f"case{ending}")
        folders = [tmp_path / f"{name}{ending}" for name in ("ref", "pred")]
        assert _evaluate("word", *folders, "--dataset-json", _dataset_json(tmp_path), "-np", 1) == 0
        found.append([float(row["value"]) for row in _files(folders[1], "word")[0]])
    nifti = pytest.approx(found[0], rel=1e-6)  # which stores voxel edges in float32
    assert found[1:] == [nifti] * 4
    assert found[2] == found[3]


@pytest.mark.parametrize("ending", [".tif", ".tiff"])
def test_volumes_as_tiff(ending: str, tmp_path: Path) -> None:
    from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

    for i, name in enumerate(("nifti_ref", "nifti_pred", "ref", "pred")):
        values = body(i % 2).astype(np.uint8)
        if name.startswith("nifti"):
            write(tmp_path / name / "case.nii.gz", values, (0.5, 1.25, 5.0))
        else:
            path = _made(tmp_path / name) / f"case{ending}"
            Tiff3DIO().write_seg(values.T, str(path), {"spacing": (5.0, 1.25, 0.5)})
    _dataset_json(tmp_path)
    for prefix in ("nifti_", ""):
        assert _evaluate("amos", tmp_path / f"{prefix}ref", tmp_path / f"{prefix}pred", "-np", 1) == 0
    assert _files(tmp_path / "pred", "amos")[0] == _files(tmp_path / "nifti_pred", "amos")[0]


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
def test_pictures_of_every_format(ending: str, tmp_path: Path) -> None:
    from skimage.io import imsave

    for i, name in enumerate(("ref", "pred")):
        imsave(_made(tmp_path / name) / f"case.{ending}", body(i, (30, 40)).astype(np.uint8), check_contrast=False)
    _dataset_json(tmp_path)
    assert _evaluate("nnunet", tmp_path / "ref", tmp_path / "pred", "-np", 1) == 0
    rows, summary = _files(tmp_path / "pred", "nnunet")
    assert set(summary["units"].values()) == {"1", "px"}
    both = [body(i, (30, 40)) for i in range(2)]
    dice = 2 * (both[0] & both[1]).sum() / (both[0].sum() + both[1].sum())
    (found,) = (row["value"] for row in rows if (row["class"], row["metric"]) == ("Anterior", "Dice"))
    assert float(found) == pytest.approx(dice)


@pytest.fixture
def trained(hippocampus: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model with two folds of these cases, as nnU-Net leaves it."""
    data, model = hippocampus / "preprocessed" / "Dataset004_H", hippocampus / "results" / "T__P__C"
    shutil.copytree(hippocampus / "ref", data / "gt_segmentations")
    splits = [{"train": [CASES[2]], "val": list(CASES[:2])}, {"train": list(CASES[:2]), "val": [CASES[2]]}]
    (data / "splits_final.json").write_text(json.dumps(splits))
    for fold, split in enumerate(splits):
        validation = model / f"fold_{fold}" / "validation"
        validation.mkdir(parents=True)
        (validation / "summary.json").write_text("{}")
        for case in split["val"]:
            shutil.copy(hippocampus / "pred" / f"{case}.nii.gz", validation)
    (model / "plans.json").write_text(json.dumps({"dataset_name": "Dataset004_H"}))
    _dataset_json(model)
    monkeypatch.setenv("nnUNet_preprocessed", str(data.parent))
    return model


def test_folds_of_a_trained_model(trained: Path) -> None:
    assert _evaluate("nnunet", "--results", trained, "-np", 1) == 0
    cases = [{row["case"] for row in _files(trained / f"fold_{i}" / "validation", "nnunet")[0]} for i in range(2)]
    assert cases == [set(CASES[:2]), {CASES[2]}]


def test_incomplete_folds_are_named(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (trained / "fold_0" / "validation" / f"{CASES[0]}.nii.gz").unlink()
    shutil.rmtree(trained / "fold_1" / "validation")
    shutil.copytree(trained / "fold_0", trained / "fold_all")
    assert _evaluate("nnunet", "--results", trained, "-np", 1) == 1
    _, summary = _files(trained / "fold_0" / "validation", "nnunet")
    assert summary["failed_cases"] == {CASES[0]: "no prediction"}
    assert "fold_1:\n  has no folder validation" in capsys.readouterr().out
    assert not (trained / "fold_1" / "validation").exists()
    _, summary = _files(trained / "fold_all" / "validation", "nnunet")
    assert summary["failed_cases"].keys() == {CASES[0], CASES[2]}
    assert "These cases were trained on: fold all has no others." in summary["notes"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nnunet", "ref"], "Give REFERENCE_FOLDER and PREDICTION_FOLDER, or --results; folders given: 1."),
        (["nnunet", "ref", "nowhere"], "There is no folder"),
        (["nnunet", "ref", "empty"], "There is no label map in"),
        (["nnunet", "mixed", "ref"], "holds files ending in .nii.gz and .png"),
        (["nnunet", "ref", "ref"], "The protocol nnunet needs --dataset-json FILE, which names the labels."),
        (["nnunet", "ref", "ref", "--dataset-json", "mixed/a.png"], "is not readable as a dataset.json of nnU-Net v2"),
        (["nnunet", "ref", "ref", "--dataset-json", "old.json"], "is not readable as a dataset.json of nnU-Net v2"),
        (["flare22", "ref", "ref", "--dataset-json", "good.json"], "no tolerance for the label 'Anterior'"),
        (["amos", "ref", "ref", "--dataset-json", "good.json", "--classes", "liver"], "There is no class 'liver'"),
        (["word", "ref", "ref", "--dataset-json", "good.json", "--tolerance", "2"], "only amos takes --tolerance"),
        (["amos", "ref", "ref", "--dataset-json", "good.json", "--tolerance", "-1"], "0 mm or more, not -1"),
        (["nnunet", "ref", "ref", "-np", "0"], "-np must be 1 or more, not 0"),
        (["nnunet", "ref", "ref", "--results", "ref"], "--results names the model's own folders"),
        (["nnunet", "--results", "ref"], "is no trained model of nnU-Net"),
        (["nnunet", "--results", "listed"], "is no trained model of nnU-Net (TypeError"),
    ],
)
def test_wrong_usage(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ref/a.nii.gz", "mixed/a.nii.gz"):
        write(tmp_path / name, body(0))
    (tmp_path / "mixed" / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "empty").mkdir()
    (_made(tmp_path / "listed") / "plans.json").write_text("[]")
    (tmp_path / "good.json").write_text(json.dumps({"labels": LABELS}))
    (tmp_path / "old.json").write_text(json.dumps({"labels": {"0": "background", "1": "liver"}}))
    assert _evaluate(*arguments) == 2
    assert sentence in capsys.readouterr().err


def test_help_names_the_protocols_that_there_are() -> None:
    from nnunet_ext.evaluation.command import PROTOCOLS as NAMED
    from nnunet_ext.evaluation.protocols import PROTOCOLS

    assert list(NAMED) == list(PROTOCOLS)
