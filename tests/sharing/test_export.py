"""`nnunet-ext export`: what others get, and that nothing else gets out."""

import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from bomb import PLANTED, Bomb, plant_in_plans

from nnunet_ext import cli

INSIDE = Path("Dataset999_Tiny", "nnUNetTrainer__nnUNetPlans__3d_fullres")
FILES = {
    "README.md",
    "crossval_results_folds_0_1/postprocessing.pkl",
    "crossval_results_folds_0_1/summary.json",
    "dataset.json",
    "dataset_fingerprint.json",
    "plans.json",
    *(
        f"fold_{fold}/{file}"
        for fold in (0, 1)
        for file in ("checkpoint_final.pth", "progress.png", "validation/summary.json")
    ),
}


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_zip_is_installed_and_loaded_by_nnunet(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.model_sharing.model_import import install_model_from_zip_file

    out = tmp_path / "für alle" / "my model.zip"
    assert cli.main(["export", str(model), str(out)]) == 0
    fresh = tmp_path / "fresh results"
    fresh.mkdir()
    monkeypatch.setenv("nnUNet_results", str(fresh))
    install_model_from_zip_file(str(out))
    assert _files(fresh) == {f"{INSIDE.as_posix()}/{name}" for name in FILES}
    predictor = nnUNetPredictor(device=torch.device("cpu"))
    predictor.initialize_from_trained_model_folder(str(fresh / INSIDE), None)
    assert predictor.allowed_mirroring_axes == (0, 1, 2)
    for fold, weights in enumerate(predictor.list_of_parameters):
        before = torch.load(model / f"fold_{fold}" / "checkpoint_final.pth", weights_only=False)["network_weights"]
        assert weights.keys() == before.keys()
        assert all(torch.equal(weights[name], tensor) for name, tensor in before.items())
    assert (fresh / INSIDE / "README.md").read_text().count("fold 1") == 1


def test_only_weights_and_nothing_of_the_authors_machine(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cli.main(["export", str(model), str(out), "--folds", "0", "1"]) == 0
    assert _files(out / INSIDE) == FILES
    for file in (path for path in out.rglob("*") if path.is_file()):
        content = file.read_bytes()
        if file.suffix == ".pth":
            assert set(torch.load(file, weights_only=True)) == {
                *("network_weights", "trainer_name", "init_args", "inference_allowed_mirroring_axes")
            }
            with zipfile.ZipFile(file) as archive:  # stored, not compressed: torch writes it so
                content += b"".join(archive.read(name) for name in archive.namelist())
            assert len(file.read_bytes()) < 0.7 * len((model / file.relative_to(out / INSIDE)).read_bytes())
        for secret in (b"an author", b"an-authors", str(tmp_path).encode(), b"case_1", b"momentum"):
            assert secret not in content, f"{secret!r} in {file}"


def test_the_same_model_gives_the_same_bytes(model: Path, tmp_path: Path) -> None:
    assert cli.main(["export", str(model), str(tmp_path / "one.zip")]) == 0
    assert cli.main(["export", str(model), str(tmp_path / "elsewhere" / "two.zip")]) == 0
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "elsewhere" / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_postprocessing_works_as_before(model: Path, tmp_path: Path) -> None:
    import numpy as np
    from nnunetv2.postprocessing.remove_connected_components import apply_postprocessing

    assert cli.main(["export", str(model), str(tmp_path / "out")]) == 0
    functions, arguments = pickle.loads(
        (tmp_path / "out" / INSIDE / "crossval_results_folds_0_1" / "postprocessing.pkl").read_bytes()
    )
    segmentation = np.zeros((1, 4, 4), dtype=np.uint8)
    segmentation[0, 0, :3] = segmentation[0, 3, 3] = 1
    cleaned = apply_postprocessing(segmentation, functions, arguments)
    assert cleaned[0, 0, :3].tolist() == [1, 1, 1]
    assert cleaned[0, 3, 3] == 0


def test_postprocessing_of_other_folds_stays_behind(model: Path, tmp_path: Path) -> None:
    assert cli.main(["export", str(model), str(tmp_path / "out"), "--folds", "1"]) == 0
    assert not list((tmp_path / "out").rglob("crossval*"))
    assert not list((tmp_path / "out").rglob("fold_0"))


def _refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", *arguments]) == 1
    said = capsys.readouterr().err
    assert told in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("part", ["fold_1/checkpoint_final.pth", "crossval_results_folds_0_1/postprocessing.pkl"])
def test_a_pickle_bomb_does_not_go_off(
    part: str, model: Path, bomb: Bomb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if part.endswith(".pth"):
        checkpoint = torch.load(model / part, weights_only=False)
        torch.save({**checkpoint, "logging": bomb}, model / part)
        told = "it holds posix.mkdir, neither a tensor nor a plain value, which could be code"
    else:
        (model / part).write_bytes(pickle.dumps(([bomb], [{}])))
        told = "postprocessing.pkl is not what nnU-Net writes there (it names posix.mkdir)"
    _refused([str(model), str(tmp_path / "out")], told, capsys)
    assert not bomb.target.exists()
    assert not (tmp_path / "out").exists()


def test_plans_that_name_code(model: Path, bomb: Bomb, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant_in_plans(model, bomb.target)
    _refused([str(model), str(tmp_path / "out")], PLANTED, capsys)
    assert not bomb.target.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("plans.json", "plans.json is missing: give a model folder"),
        ("dataset.json", "dataset.json is missing: give a model folder"),
        ("fold_1/checkpoint_final.pth", "checkpoint_final.pth is missing: the folds with one are 0"),
    ],
)
def test_missing_and_damaged_files(
    file: str, told: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (model / file).read_bytes()
    (model / file).unlink()
    arguments = [str(model), str(tmp_path / "out"), "--folds", "0", "1"]
    _refused(arguments, told, capsys)
    (model / file).write_bytes(content[: len(content) // 2])
    _refused(arguments, "is damaged" if file.endswith(".pth") else "is no JSON file", capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("entry", "value", "told"),
    [
        (
            "dataset_name",
            "../../evil",
            "the dataset name is '../../evil', which cannot be part of a model folder's name",
        ),
        ("dataset_name", None, "the dataset name is None"),
        ("plans_name", "..", "the plans name is '..'"),
        ("plans_name", "a/b", "the plans name is 'a/b'"),
        ("configurations", {}, "nnU-Net cannot load this model"),
    ],
)
def test_plans_that_lead_elsewhere(
    entry: str, value: object, told: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plans = json.loads((model / "plans.json").read_text())
    (model / "plans.json").write_text(json.dumps(plans | {entry: value}))
    _refused([str(model), str(tmp_path / "out")], told, capsys)
    assert {path.name for path in tmp_path.iterdir()} == {"nnUNet_results"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--checkpoint", "../../checkpoint_final.pth"],
            "the checkpoint is '../../checkpoint_final.pth', expected a file's",
        ),
        (["--folds", "../fold_0"], "a fold is '../fold_0', expected a number or all"),
        (["--checkpoint", "checkpoint_best.pth"], "has no fold_*/checkpoint_best.pth"),
    ],
)
def test_wrong_options(
    options: list[str], told: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _refused([str(model), str(tmp_path / "out"), *options], told, capsys)


def test_a_zip_is_no_model_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ein Modell.zip").touch()
    told = "ein Modell.zip is a zip: nnUNetv2_install_pretrained_model_from_zip makes a model folder of it"
    _refused([str(tmp_path / "ein Modell.zip"), str(tmp_path / "out")], told, capsys)


def test_weights_of_another_network(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plans = json.loads((model / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] = [8, 16, 24]
    (model / "plans.json").write_text(json.dumps(plans))
    _refused([str(model), str(tmp_path / "out.zip")], "nnU-Net cannot load this model (RuntimeError: Error(s)", capsys)


def test_an_unknown_trainer(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in model.glob("fold_*/checkpoint_final.pth"):
        torch.save(torch.load(file, weights_only=False) | {"trainer_name": "nnUNetTrainerOfMine"}, file)
    _refused([str(model), str(tmp_path / "out")], "nnU-Net does not find the trainer nnUNetTrainerOfMine", capsys)


def test_what_is_there_is_not_touched(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there.zip").write_text("mine")
    _refused([str(model), str(tmp_path / "there.zip")], "there.zip exists already: give another name", capsys)
    assert (tmp_path / "there.zip").read_text() == "mine"
    before = _files(model)
    _refused([str(model), str(model.parent.parent)], f"{model} exists already", capsys)
    assert _files(model) == before


@pytest.mark.parametrize("out", ["new/out.zip", "new/out"])
def test_a_disk_without_room(out: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resource = pytest.importorskip("resource")
    largest = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, largest[1]))
    try:
        _refused([str(model), str(tmp_path / out)], "could not be written: File too large", capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, largest)
    assert not (tmp_path / "new").exists()
