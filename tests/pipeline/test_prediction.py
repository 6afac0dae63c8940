"""A trained model predicts real images with `nnunet-ext predict` as with `nnUNetv2_predict`."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from .stock import StockNnUNet

TRAINER = "nnUNetTrainerLKMUNetTiny"

pytestmark = pytest.mark.slow


def test_same_files_as_the_stock_command(hippocampus: StockNnUNet, tmp_path: Path) -> None:
    hippocampus.train(4, "3d_fullres", 0, TRAINER)
    stock = hippocampus.predict(4, "3d_fullres", 0, TRAINER)
    images = next(hippocampus.raw.glob("Dataset004_*")) / "imagesTs"
    model = hippocampus.model(TRAINER, "3d_fullres")
    out = tmp_path / "out"
    said = hippocampus("nnunet-ext", "predict", "-i", images, "-o", out, "-m", model, "-f", 0, "-device", "cpu")
    assert "2 written" in said
    for file in sorted(stock.glob("*.nii.gz")):
        theirs, ours = (SimpleITK.ReadImage(str(folder / file.name)) for folder in (stock, out))
        assert ours.GetPixelID() == theirs.GetPixelID()
        for geometry in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(ours, geometry)() == getattr(theirs, geometry)()
        labels = SimpleITK.GetArrayFromImage(theirs)
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(ours), labels)
        assert len(np.unique(labels)) > 1
    hippocampus(
        "nnUNetv2_evaluate_folder",
        *(next(hippocampus.raw.glob("Dataset004_*")) / "labelsTs", out),
        *("-djfile", out / "dataset.json", "-pfile", out / "plans.json", "-np", 1),
    )
