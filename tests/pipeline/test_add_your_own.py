"""The example of docs/add_your_own_network.md trains and predicts by the stock commands."""

from pathlib import Path

import pytest

from ..docs.example import code_blocks
from .stock import USER_TRAINERS, StockNnUNet

pytestmark = pytest.mark.slow

TRAINER = "nnUNetTrainerLargeKernelUNet"


def test_the_example_trains_and_predicts(hippocampus: StockNnUNet, tmp_path: Path) -> None:
    folder = tmp_path / "my_trainers"
    folder.mkdir()
    # `Tiny`, the budget for tests, and the example; the trainer's name and everything else are the page's.
    short = f"class {TRAINER}Tiny(Tiny, {TRAINER}): pass\n"
    (folder / "my_network.py").write_text("\n".join((code_blocks()[0], USER_TRAINERS, short)))
    variables = {"nnUNet_extTrainer": str(folder)}
    trainer = ("-tr", f"{TRAINER}Tiny", "-device", "cpu")
    log = hippocampus("nnUNetv2_train", 4, "3d_fullres", 0, *trainer, **variables)
    assert "Mean Validation Dice" in log
    images, predicted = hippocampus.raw / "Dataset004_Hippocampus" / "imagesTs", tmp_path / "predicted"
    options = ["-d", 4, "-c", "3d_fullres", "-f", 0, "-npp", 1, "-nps", 1]
    hippocampus("nnUNetv2_predict", "-i", images, "-o", predicted, *options, *trainer, **variables)
    assert len(list(predicted.glob("*.nii.gz"))) == 2
