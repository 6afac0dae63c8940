"""A plans file that names one of our networks is enough: nnU-Net's own trainer trains it, and predicts with it."""

import json
from pathlib import Path
from typing import Any

import pytest

from .stock import StockNnUNet

pytestmark = pytest.mark.slow

TRAINER = "nnUNetTrainerStockTiny"

# nnU-Net's own trainer, with the budget for tests that ours have in the file beside it.
STOCK_TRAINER = f"""
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from tiny_trainers import Tiny

class {TRAINER}(Tiny, nnUNetTrainer): pass
"""

IN_3D = {
    "LKMUNet": {"pim_partition": "grid", "pam_pool": "pow2", "recompute": False},
    "MetaMambaUNet": {"scan": "tri", "ssm_full_res": True},
    "UMambaBot": {},  # has no option of its own
}
IN_2D = {
    "MixedMLPUNet": {"placement": "encoder", "block_sizes": [2, 4]},
    "MLLAUNet": {
        "embed_dim": 8,
        "depths": [1, 1, 1, 1],
        "decoder_depths": [1, 1, 1],
        "num_heads": [1, 2, 2, 4],
        "follow_plan": True,
    },
}


def _train_and_predict(
    nnunet: StockNnUNet, dataset: int, configuration: str, network: str, options: dict[str, Any], ending: str
) -> None:
    (nnunet.folder / "user_trainers" / "tiny_stock_trainer.py").write_text(STOCK_TRAINER)
    folder = next(nnunet.preprocessed.glob(f"Dataset{dataset:03d}_*"))
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    plans["plans_name"] = f"nnUNetPlans{network}"
    architecture = plans["configurations"][configuration]["architecture"]
    architecture["network_class_name"] = f"nnunet_ext.architectures.{network}"
    architecture["arch_kwargs"] |= options
    (folder / f"{plans['plans_name']}.json").write_text(json.dumps(plans))

    log = nnunet.train(dataset, configuration, 0, TRAINER, "-p", plans["plans_name"])
    assert "Mean Validation Dice" in log
    images, predicted = nnunet.raw / folder.name / "imagesTs", nnunet.folder / f"by_plans_{network}"
    nnunet(
        "nnUNetv2_predict",
        *("-i", images, "-o", predicted, "-d", dataset, "-c", configuration, "-f", 0, "-tr", TRAINER),
        *("-p", plans["plans_name"], "-device", "cpu", "-npp", 1, "-nps", 1),
    )
    assert _names(predicted, ending) == _names(nnunet.raw / folder.name / "labelsTs", ending)


def _names(folder: Path, ending: str) -> set[str]:
    return {file.name for file in folder.glob(f"*{ending}")}


@pytest.mark.parametrize("network", IN_3D)
def test_nnunets_own_trainer_in_3d(hippocampus: StockNnUNet, network: str) -> None:
    _train_and_predict(hippocampus, 4, "3d_fullres", network, IN_3D[network], ".nii.gz")


@pytest.mark.parametrize("network", IN_2D)
def test_nnunets_own_trainer_in_2d_with_regions(fundus: StockNnUNet, network: str) -> None:
    _train_and_predict(fundus, 21, "2d", network, IN_2D[network], ".png")
