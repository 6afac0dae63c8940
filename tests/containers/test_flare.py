"""The program of a FLARE image, in a folder that stands for /workspace."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from bomb import Bomb

from nnunet_ext.containers import flare

from .models import random_model, settings, stock_prediction, volume


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for name in ("inputs", "outputs"):
        (tmp_path / "workspace" / name).mkdir(parents=True)
    return tmp_path / "workspace"


def _written(workspace: Path) -> set[str]:
    return {path.name for path in (workspace / "outputs").iterdir()}


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIOWithReorient"])
def test_labels_are_those_of_stock_nnunet(reader: str, workspace: Path, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", reader)
    names = ["FLARETs_0001", "a case", "Fäll_ü_0000"]
    for seed, name in enumerate(names):
        SimpleITK.WriteImage(volume(seed), workspace / "inputs" / f"{name}_0000.nii.gz")
    assert flare.run(workspace, settings(model, tmp_path / "home")) == 0
    assert _written(workspace) == {f"{name}.nii.gz" for name in names}
    for name in names:
        image, labels = workspace / "inputs" / f"{name}_0000.nii.gz", workspace / "outputs" / f"{name}.nii.gz"
        expected = stock_prediction(model, [image], tmp_path / "stock")
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(labels)), expected)
        np.testing.assert_allclose(nib.load(labels).affine, nib.load(image).affine, atol=1e-5)


def test_bad_cases_do_not_cost_the_good_ones(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = workspace / "inputs"
    model = random_model(tmp_path / "model", channels=2)
    for name in ("good", "lonely", "many", "different", "cut", "text"):
        for channel in (0, 1):
            SimpleITK.WriteImage(volume(channel), inputs / f"{name}_{channel:04d}.nii.gz")
    (inputs / "lonely_0000.nii.gz").unlink()
    shutil.copy(inputs / "many_0000.nii.gz", inputs / "many_0002.nii.gz")
    SimpleITK.WriteImage(volume()[:-1], inputs / "different_0001.nii.gz")
    content = (inputs / "cut_0001.nii.gz").read_bytes()
    (inputs / "cut_0001.nii.gz").write_bytes(content[: len(content) // 2])
    (inputs / "text_0000.nii.gz").write_text("no image")
    SimpleITK.WriteImage(volume(), inputs / "unpacked_0000.nii")
    SimpleITK.WriteImage(volume(), inputs / "unnumbered.nii.gz")
    before = sorted((path.name, path.read_bytes()) for path in inputs.iterdir())

    assert flare.run(workspace, settings(model, tmp_path / "home")) == 1
    said = {line.split(": ")[1]: line for line in capsys.readouterr().err.splitlines()}
    assert _written(workspace) == {"good.nii.gz"}
    assert "channel 0000 is missing" in said["lonely"]
    assert "expected 2 channels (channel 0, channel 1), found 3" in said["many"]
    assert "cannot be read" in said["different"]
    assert "same shape" in said["different"]
    assert "cannot be read" in said["cut"]
    assert "cannot be read" in said["text"]
    assert "expected files named CASE_0000.nii.gz" in said["unpacked_0000.nii"]
    assert "expected files named CASE_0000.nii.gz" in said["unnumbered.nii.gz"]
    assert "good" not in said
    assert sorted((path.name, path.read_bytes()) for path in inputs.iterdir()) == before


def test_an_empty_folder_and_no_folder(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = settings(tmp_path / "model", tmp_path / "home")
    assert flare.run(workspace, home) == 1
    assert "holds no case: expected files named CASE_0000.nii.gz" in capsys.readouterr().err
    (workspace / "outputs").rmdir()
    assert flare.run(workspace, home) == 1
    assert "outputs is no folder: mount it" in capsys.readouterr().err


def test_a_bomb_in_the_image_does_not_go_off(
    workspace: Path, tmp_path: Path, bomb: Bomb, capsys: pytest.CaptureFixture[str]
) -> None:
    model = random_model(tmp_path / "model")
    checkpoint = model / "fold_0" / "checkpoint_final.pth"
    torch.save({**torch.load(checkpoint, weights_only=True), "logging": bomb}, checkpoint)
    SimpleITK.WriteImage(volume(), workspace / "inputs" / "case_0000.nii.gz")
    assert flare.run(workspace, settings(model, tmp_path / "home")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "neither a tensor nor a plain value, which could be code" in line
    assert not bomb.target.exists()
    assert not _written(workspace)


def test_nothing_half_written(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    def fail_at_the_end(self: SimpleITKIO, labels: np.ndarray, file: str, properties: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    model = random_model(tmp_path / "model")
    SimpleITK.WriteImage(volume(), workspace / "inputs" / "case_0000.nii.gz")
    monkeypatch.setattr(SimpleITKIO, "write_seg", fail_at_the_end)
    assert flare.run(workspace, settings(model, tmp_path / "home")) == 1
    assert not _written(workspace)
