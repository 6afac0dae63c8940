"""Every trainer through nnU-Net's own commands: each kind of labels, cascade, a kill, unseen cases, fine-tuning."""

import json
import os
import signal
import time

import pytest
import torch

from nnunet_ext.catalogue import ENTRIES

from .stock import StockNnUNet

pytestmark = pytest.mark.slow

# The larger sizes of MLLA-UNet differ in numbers only, and a checkpoint of theirs has up to a gigabyte.
LARGER = ("nnUNetTrainerMLLAUNetS", "nnUNetTrainerMLLAUNetB")
TRAINERS = [entry.trainer for entry in ENTRIES if entry.trainer not in LARGER]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_killed_resumed_predicted_evaluated_and_fine_tuned(
    hippocampus: StockNnUNet, regions_and_ignore: StockNnUNet, trainer: str
) -> None:
    fine_tuned = f"{trainer}Tiny"
    trainer = f"{trainer}TwoEpochs"
    _train_with_a_kill(hippocampus, 4, "3d_fullres", trainer)
    _predict_and_evaluate(hippocampus, 4, "3d_fullres", trainer)

    weights = hippocampus.model(trainer, "3d_fullres") / "fold_1" / "checkpoint_final.pth"
    log = regions_and_ignore.train(5, "3d_fullres", 0, fine_tuned, "-pretrained_weights", weights)
    assert "Loading pretrained weights" in log
    assert "Mean Validation Dice" in log
    # The authors' windows, multiples of (5, 7, 6), do not fit this patch; the derived ones fit every patch.
    assert ("the whole map is one sequence" in log.replace("\n", " ")) == ("LKMUNetReleased" in trainer)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_cascade_with_ignore_label_on_all_cases(cascade_and_ignore: StockNnUNet, trainer: str) -> None:
    trainer = f"{trainer}Tiny"
    cascade_and_ignore.train(6, "3d_lowres", "all", trainer)
    log = cascade_and_ignore.train(6, "3d_cascade_fullres", 0, trainer)
    assert "Mean Validation Dice" in log


@pytest.mark.parametrize("trainer", TRAINERS)
def test_killed_resumed_predicted_and_evaluated_with_regions_in_2d(fundus: StockNnUNet, trainer: str) -> None:
    trainer = f"{trainer}TwoEpochs"
    _train_with_a_kill(fundus, 21, "2d", trainer)
    _predict_and_evaluate(fundus, 21, "2d", trainer)


@pytest.mark.parametrize("trainer", LARGER)
def test_larger_sizes(fundus: StockNnUNet, hippocampus: StockNnUNet, trainer: str) -> None:
    assert "Mean Validation Dice" in hippocampus.train(4, "3d_fullres", 1, f"{trainer}Tiny")
    _predict_and_evaluate(hippocampus, 4, "3d_fullres", f"{trainer}Tiny")
    _train_with_a_kill(fundus, 21, "2d", f"{trainer}TwoEpochs")
    _predict_and_evaluate(fundus, 21, "2d", f"{trainer}TwoEpochs")
    for nnunet in (hippocampus, fundus):
        for checkpoint in nnunet.results.glob(f"*/{trainer}T*/fold_*/*.pth"):
            checkpoint.unlink()


def _train_with_a_kill(nnunet: StockNnUNet, dataset: int, configuration: str, trainer: str) -> None:
    """Train fold 1, which is killed in the middle of its second epoch and then continued."""
    command = ["nnUNetv2_train", dataset, configuration, 1, "-tr", trainer, "-device", "cpu"]
    nnunet.environment["DAWDLE"] = "in epoch 1"
    with nnunet.start(*command) as process:
        try:
            nnunet.read_until(process, "Epoch 1")
            time.sleep(0.3)
            assert process.poll() is None
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            del nnunet.environment["DAWDLE"]
    fold = nnunet.model(trainer, configuration) / "fold_1"
    assert not (fold / "checkpoint_final.pth").exists()
    assert torch.load(fold / "checkpoint_latest.pth", weights_only=False, mmap=True)["current_epoch"] == 1
    log = nnunet(*command, "--c")
    assert "Epoch 1" in log
    assert "Epoch 0" not in log
    assert "Mean Validation Dice" in log
    assert (fold / "checkpoint_final.pth").is_file()


def _predict_and_evaluate(nnunet: StockNnUNet, dataset: int, configuration: str, trainer: str) -> None:
    predicted = nnunet.predict(dataset, configuration, 1, trainer)
    model = nnunet.model(trainer, configuration)
    files = ["-djfile", model / "dataset.json", "-pfile", model / "plans.json"]
    labels = nnunet.raw / model.parent.name / "labelsTs"
    nnunet("nnUNetv2_evaluate_folder", labels, predicted, *files, "-np", 1)
    assert len(json.loads((predicted / "summary.json").read_text())["metric_per_case"]) == 2
