"""The whole of nnU-Net, command by command, on real images: five folds, unseen cases, a zip to somebody else."""

import json
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from .stock import StockNnUNet

TRAINER = "nnUNetTrainerLKMUNetTiny"

pytestmark = pytest.mark.slow


def _labels(folder: Path, ending: str) -> dict[str, np.ndarray]:
    reader = NaturalImage2DIO() if ending == ".png" else SimpleITKIO()
    return {file.name: reader.read_seg(str(file))[0] for file in sorted(folder.glob(f"*{ending}"))}


def _whole_pipeline(nnunet: StockNnUNet, dataset: int, configuration: str, ending: str) -> None:
    for fold in range(5):
        log = nnunet.train(dataset, configuration, fold, TRAINER, "--npz")
        assert "Mean Validation Dice" in log
    model = nnunet.model(TRAINER, configuration)
    raw = nnunet.raw / model.parent.name
    nnunet("nnUNetv2_find_best_configuration", dataset, "-c", configuration, "-tr", TRAINER, "--disable_ensembling")
    assert (model / "crossval_results_folds_0_1_2_3_4" / "summary.json").is_file()

    predicted = nnunet.folder / "predicted"
    options = ["-device", "cpu", "-npp", 1, "-nps", 1]
    nnunet(
        "nnUNetv2_predict",
        *("-i", raw / "imagesTs", "-o", predicted, "-d", dataset, "-c", configuration, "-tr", TRAINER, *options),
    )
    segmentations = _labels(predicted, ending)
    truths = _labels(raw / "labelsTs", ending)
    assert segmentations.keys() == truths.keys()
    known = {0, 1, 2}
    for name, segmentation in segmentations.items():
        assert segmentation.shape == truths[name].shape
        assert set(np.unique(segmentation)) <= known

    nnunet(
        "nnUNetv2_evaluate_folder",
        *(raw / "labelsTs", predicted, "-djfile", model / "dataset.json", "-pfile", model / "plans.json", "-np", 1),
    )
    summary = json.loads((predicted / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == 2

    archive = nnunet.folder / "model.zip"
    nnunet(
        "nnUNetv2_export_model_to_zip",
        *("-d", dataset, "-o", archive, "-c", configuration, "-tr", TRAINER, "-f", 0, 1, 2, 3, 4),
    )
    elsewhere = nnunet.folder / "elsewhere"
    elsewhere.mkdir()
    nnunet("nnUNetv2_install_pretrained_model_from_zip", archive, nnUNet_results=str(elsewhere))
    again = nnunet.folder / "predicted_again"
    nnunet(
        "nnUNetv2_predict_from_modelfolder",
        *("-i", raw / "imagesTs", "-o", again, "-m", elsewhere / model.relative_to(nnunet.results), *options),
    )
    for name, segmentation in _labels(again, ending).items():
        np.testing.assert_array_equal(segmentation, segmentations[name])


def test_3d_with_labels(hippocampus: StockNnUNet) -> None:
    _whole_pipeline(hippocampus, 4, "3d_fullres", ".nii.gz")


def test_2d_with_regions(fundus: StockNnUNet) -> None:
    _whole_pipeline(fundus, 21, "2d", ".png")
