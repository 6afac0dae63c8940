"""Plans of `nnunet-ext plan` through nnU-Net's commands: preprocess, train, export, import elsewhere, predict."""

import json
import shutil
from pathlib import Path

import pytest

from .stock import StockNnUNet

pytestmark = pytest.mark.slow

TRAINER = "nnUNetTrainerMixedMLPUNetTiny"
PLANS = "nnUNetMixedMLPUNetPlans_2G"


def test_a_planned_network_is_trained_and_shared(hippocampus: StockNnUNet, tmp_path: Path) -> None:
    nnunet = hippocampus
    printed = nnunet("nnunet-ext", "plan", "-d", 4, *("--network", "mixed_mlp_unet", "--gpu-memory", 2, "--preprocess"))
    next_commands = printed.split("Next:")[1].strip().splitlines()
    assert not any("nnUNetv2_preprocess" in command for command in next_commands)
    preprocessed = next(nnunet.preprocessed.glob("Dataset004_*"))
    plans = json.loads((preprocessed / f"{PLANS}.json").read_text())
    for configuration in plans["configurations"].values():
        assert len(list((preprocessed / configuration["data_identifier"]).glob("*.pkl"))) == 10

    command = next(line.split() for line in next_commands if "3d_fullres" in line)
    command[command.index("-tr") + 1] += "Tiny"
    assert "Mean Validation Dice" in nnunet(*command, "-device", "cpu")

    file = tmp_path / "model.zip"
    model = ("-c", "3d_fullres", "-f", 0, "-tr", TRAINER, "-p", PLANS)
    nnunet("nnUNetv2_export_model_to_zip", "-d", 4, "-o", file, *model)
    elsewhere = {"nnUNet_results": str(tmp_path / "results"), "nnUNet_raw": None, "nnUNet_preprocessed": None}
    (tmp_path / "results").mkdir()
    nnunet("nnUNetv2_install_pretrained_model_from_zip", file, **elsewhere)
    images = tmp_path / "images"
    shutil.copytree(next(nnunet.raw.glob("Dataset004_*")) / "imagesTs", images)
    out = tmp_path / "predicted"
    nnunet(
        "nnUNetv2_predict",
        *("-i", images, "-o", out, "-d", "Dataset004_Hippocampus", "-device", "cpu", "-npp", 1, "-nps", 1, *model),
        **elsewhere,
    )
    assert len(list(out.glob("*.nii.gz"))) == 2
