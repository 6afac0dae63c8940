"""A trained model goes to others by `nnunet-ext export`, and predicts there what it predicted here."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from .stock import StockNnUNet

TRAINER = "nnUNetTrainerLKMUNetTiny"

pytestmark = pytest.mark.slow


def _slicer(nnunet: StockNnUNet, results: Path, images: Path, out: Path) -> np.ndarray:
    """Predict with the command line and the variables of 3D Slicer's extension; returns the labels."""
    model = next(results.glob(f"Dataset004_*/{TRAINER}__*"))
    trainer, plans, configuration = model.name.split("__")
    nnunet(
        "nnUNetv2_predict",
        *("-i", images, "-o", out, "-d", model.parent.name, "-tr", trainer, "-p", plans, "-c", configuration),
        *("-f", "0", "-npp", 1, "-nps", 1, "-step_size", 0.5, "-device", "cpu", "-chk", "checkpoint_final.pth"),
        "--disable_tta",
        **dict.fromkeys(("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"), str(results)),
    )
    (file,) = out.rglob("*.nii*")  # as the extension finds it
    return SimpleITKIO().read_seg(str(file))[0]


def test_exported_installed_and_predicted_as_3d_slicer_does(hippocampus: StockNnUNet, tmp_path: Path) -> None:
    hippocampus.train(4, "3d_fullres", 0, TRAINER)
    model = hippocampus.model(TRAINER, "3d_fullres")
    images = tmp_path / "input"
    images.mkdir()
    image = min((hippocampus.raw / model.parent.name / "imagesTs").iterdir())
    (images / "volume_0000.nii.gz").symlink_to(image)
    before = _slicer(hippocampus, hippocampus.results, images, tmp_path / "before")
    assert len(np.unique(before)) > 1

    archive, folder = tmp_path / "für alle.zip", tmp_path / "ein Ordner"
    for out in (archive, folder):
        hippocampus("nnunet-ext", "export", model, out, "--folds", 0, "--licence", "CC0-1.0")
    fresh = tmp_path / "fresh results"
    fresh.mkdir()
    hippocampus("nnUNetv2_install_pretrained_model_from_zip", archive, nnUNet_results=str(fresh))
    np.testing.assert_array_equal(_slicer(hippocampus, fresh, images, tmp_path / "installed"), before)

    inside = folder / model.relative_to(hippocampus.results)
    hippocampus(
        "nnUNetv2_predict_from_modelfolder",
        *("-i", images, "-o", tmp_path / "from folder", "-m", inside, "-f", 0, "--disable_tta", "-device", "cpu"),
        *("-npp", 1, "-nps", 1),
    )
    again = SimpleITKIO().read_seg(str(tmp_path / "from folder" / "volume.nii.gz"))[0]
    np.testing.assert_array_equal(again, before)

    weights = torch.load(inside / "fold_0" / "checkpoint_final.pth", weights_only=True)
    assert weights["trainer_name"] == TRAINER
    validated = json.loads((model / "fold_0" / "validation" / "summary.json").read_text())
    card = (inside / "README.md").read_text()
    assert f"| Anterior | {validated['mean']['1']['Dice']:.3f} |" in card
    assert f"| cases | {len(validated['metric_per_case'])} |" in card
    assert "wang2024lkmunet" in card
    assert "neither nnU-Net's nor nnunet-ext's" in card  # the tests' own trainer
