"""What nnU-Net's own trainers can do, ours must too: labels of every kind, cascades, resuming, fine-tuning."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_ext.trainers import nnUNetTrainerLKMUNet

from .stock import StockNnUNet

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def regions_and_ignore(hippocampus: StockNnUNet) -> StockNnUNet:
    """Data set 5: the hippocampus as overlapping regions, with a slab that nobody annotated."""
    source, target = hippocampus.raw / "Dataset004_Hippocampus", hippocampus.raw / "Dataset005_Regions"
    shutil.copytree(source, target)
    reader = SimpleITKIO()
    for file in target.glob("labels*/*.nii.gz"):
        labels, properties = reader.read_seg(str(file))
        labels = labels[0]
        labels[: labels.shape[0] // 5] = 3
        reader.write_seg(labels.astype(np.uint8), str(file), properties)
    description = json.loads((target / "dataset.json").read_text())
    description["labels"] = {"background": 0, "hippocampus": [1, 2], "posterior": 2, "ignore": 3}
    description["regions_class_order"] = [1, 2]
    (target / "dataset.json").write_text(json.dumps(description))
    hippocampus.plan(5, "3d_fullres", (32, 40, 32), [4, 8, 16, 16])
    return hippocampus


@pytest.mark.parametrize("trainer", ["nnUNetTrainerLKMUNetTiny", "nnUNetTrainerLKMUNetReleasedTiny"])
def test_regions_with_ignore_label(regions_and_ignore: StockNnUNet, trainer: str) -> None:
    log = regions_and_ignore.train(5, "3d_fullres", 0, trainer)
    assert "Mean Validation Dice" in log
    # The authors' windows, multiples of (5, 7, 6), do not fit this patch; the derived ones fit every patch.
    assert ("the whole map is one sequence" in log.replace("\n", " ")) == ("Released" in trainer)


@pytest.mark.parametrize("network", ["MetaMambaUNet", "MixedMLPUNet", "UMambaBot", "MLLAUNet"])
def test_every_network_trains_and_validates_in_3d(hippocampus: StockNnUNet, network: str) -> None:
    log = hippocampus.train(4, "3d_fullres", 0, f"nnUNetTrainer{network}Tiny")
    assert "Mean Validation Dice" in log


@pytest.mark.parametrize("network", ["MLLAUNet", "MixedMLPUNetPaper"])
def test_networks_published_in_2d_train_and_predict_regions(fundus: StockNnUNet, network: str) -> None:
    trainer = f"nnUNetTrainer{network}Tiny"
    fundus.train(21, "2d", 0, trainer)
    images, predicted = fundus.raw / "Dataset021_Fundus" / "imagesTs", fundus.folder / network
    options = ["-f", 0, "-device", "cpu", "-npp", 1, "-nps", 1]
    fundus("nnUNetv2_predict", "-i", images, "-o", predicted, "-d", 21, "-c", "2d", "-tr", trainer, *options)
    assert len(list(predicted.glob("*.png"))) == 2


def test_cascade_on_all_cases(hippocampus: StockNnUNet) -> None:
    def add_cascade(plans: dict) -> None:
        full = plans["configurations"]["3d_fullres"]
        plans["configurations"]["3d_lowres"] = {
            "inherits_from": "3d_fullres",
            "data_identifier": "nnUNetPlans_3d_lowres",
            "spacing": [1.5 * s for s in full["spacing"]],
            "median_image_size_in_voxels": [s / 1.5 for s in full["median_image_size_in_voxels"]],
            "next_stage": "3d_cascade_fullres",
        }
        plans["configurations"]["3d_cascade_fullres"] = {
            "inherits_from": "3d_fullres",
            "previous_stage": "3d_lowres",
        }

    hippocampus.edit_plans(4, add_cascade)
    hippocampus("nnUNetv2_preprocess", "-d", 4, "-c", "3d_lowres", "-np", 1)
    trainer = "nnUNetTrainerLKMUNetTiny"
    hippocampus.train(4, "3d_lowres", "all", trainer)
    hippocampus.train(4, "3d_cascade_fullres", 0, trainer)
    assert (hippocampus.model(trainer, "3d_cascade_fullres") / "fold_0" / "validation" / "summary.json").is_file()


def _until(process: "subprocess.Popen[str]", text: str) -> list[str]:
    """Read what a command prints until a line holds `text`."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"the command ended without printing {text!r}:\n{''.join(lines)}")


@pytest.fixture
def long_training(hippocampus: StockNnUNet) -> Iterator["LongTraining"]:
    training = LongTraining(hippocampus)
    yield training
    training.end()


class LongTraining:
    """`nnUNetv2_train` of three epochs, to be interrupted."""

    def __init__(self, nnunet: StockNnUNet):
        self.nnunet = nnunet

    def start(self, *more: str) -> None:
        arguments = ["4", "3d_fullres", "1", "-tr", "nnUNetTrainerLKMUNetLong", "-device", "cpu", *more]
        self.process = self.nnunet.start("nnUNetv2_train", *arguments)

    def interrupt(self, number: signal.Signals, group: bool, seconds: float = 2) -> int:
        """Send a signal, by default in the middle of an epoch; returns the exit code."""
        time.sleep(seconds)
        (os.killpg if group else os.kill)(self.process.pid, number)
        return self.process.wait(timeout=60)

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    @property
    def fold(self) -> Path:
        return self.nnunet.model("nnUNetTrainerLKMUNetLong", "3d_fullres") / "fold_1"


def test_preempted_training_saves_leaves_and_resumes(long_training: LongTraining) -> None:
    # A scheduler's first warning goes to the process alone, its later ones to all processes of the job.
    long_training.start()
    _until(long_training.process, "Epoch 0")
    assert long_training.interrupt(signal.SIGTERM, group=False) == 75
    assert (long_training.fold / "checkpoint_latest.pth").is_file()

    long_training.start("--c")
    _until(long_training.process, "Epoch 0")
    _until(long_training.process, "Epoch 1")
    assert long_training.interrupt(signal.SIGUSR1, group=True) == 75

    long_training.start("--c")
    assert not any("Epoch 0" in line for line in _until(long_training.process, "Epoch 1"))
    assert long_training.interrupt(signal.SIGTERM, group=True) == 75

    long_training.start("--c")
    _until(long_training.process, "Epoch 1")
    assert long_training.interrupt(signal.SIGKILL, group=True) == -signal.SIGKILL
    assert torch.load(long_training.fold / "checkpoint_latest.pth", weights_only=False)["current_epoch"] == 1

    long_training.start("--c")
    output = "".join(_until(long_training.process, "predicting"))
    assert long_training.interrupt(signal.SIGTERM, group=True, seconds=0) == 75

    long_training.start("--c")
    _until(long_training.process, "Validation complete")
    assert long_training.process.wait(timeout=60) == 0
    assert "Epoch 1" in output
    assert "logging issue" not in output
    assert (long_training.fold / "checkpoint_final.pth").is_file()
    assert not list(long_training.fold.glob("*.partial"))
    logged = torch.load(long_training.fold / "checkpoint_final.pth", weights_only=False)["logging"]
    assert {len(series) for series in logged.values()} == {3}


@pytest.fixture(scope="module")
def trained(hippocampus: StockNnUNet) -> Path:
    """A trained fold, and nothing else that other tests change."""
    hippocampus.train(4, "3d_fullres", 2, "nnUNetTrainerLKMUNetTiny")
    return hippocampus.model("nnUNetTrainerLKMUNetTiny", "3d_fullres") / "fold_2"


def test_validation_alone(hippocampus: StockNnUNet, trained: Path) -> None:
    before = (trained / "validation" / "summary.json").read_text()
    shutil.rmtree(trained / "validation")
    hippocampus.train(4, "3d_fullres", 2, "nnUNetTrainerLKMUNetTiny", "--val", "--npz")
    assert json.loads((trained / "validation" / "summary.json").read_text())["mean"] == json.loads(before)["mean"]
    assert list((trained / "validation").glob("*.npz"))


def test_fine_tuning_onto_another_label_set(regions_and_ignore: StockNnUNet, trained: Path) -> None:
    weights = trained / "checkpoint_final.pth"
    log = regions_and_ignore.train(5, "3d_fullres", 1, "nnUNetTrainerLKMUNetTiny", "-pretrained_weights", weights)
    assert "Loading pretrained weights" in log
    assert "encoder.mixers.0.0.mamba.mamba_forw.A_log shape" in log


def test_damaged_and_foreign_checkpoints_get_one_clear_sentence(
    hippocampus: StockNnUNet, trained: Path, tmp_path: Path
) -> None:
    checkpoint = trained / "checkpoint_final.pth"
    good = checkpoint.read_bytes()
    control = "nnUNetTrainerLKMUNetNoMambaTiny"
    hippocampus.train(4, "3d_fullres", 2, control)
    of_another_network = hippocampus.model(control, "3d_fullres") / "fold_2" / "checkpoint_final.pth"
    torch.save({"epoch": 3, "model": {}}, tmp_path / "foreign.pth")
    cases = {
        "is damaged and cannot be read": good[: len(good) // 2],
        "is not a checkpoint that nnU-Net wrote": (tmp_path / "foreign.pth").read_bytes(),
        "holds another network than nnUNetTrainerLKMUNetTiny builds": of_another_network.read_bytes(),
    }
    try:
        for sentence, content in cases.items():
            checkpoint.write_bytes(content)
            log = hippocampus(
                "nnUNetv2_train",
                *(4, "3d_fullres", 2, "-tr", "nnUNetTrainerLKMUNetTiny", "-device", "cpu", "--val"),
                fails=True,
            )
            assert sentence in log.splitlines()[-1]
    finally:
        checkpoint.write_bytes(good)


def test_bad_settings_get_one_clear_sentence(hippocampus: StockNnUNet) -> None:
    command = ["nnUNetv2_train", 4, "3d_fullres", 3, "-tr", "nnUNetTrainerLKMUNetTiny", "-device", "cpu"]
    log = hippocampus(*command, fails=True, NNUNET_EXT_SCAN_BACKEND="cuda")
    assert "NNUNET_EXT_SCAN_BACKEND" in log.splitlines()[-1]
    assert "'cuda'" in log.splitlines()[-1]
    log = hippocampus("nnUNetv2_train", 99, *command[2:], fails=True)
    assert "Could not find a dataset with the ID 99" in log
    folders = dict.fromkeys(("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"))
    log = hippocampus(*command, fails=True, **folders)
    assert "nnUNet_preprocessed=None" in log
    assert "adapt your environment variables" in log
    plans = next(hippocampus.preprocessed.glob("Dataset004*")) / "nnUNetPlans.json"
    before = plans.read_text()
    try:
        hippocampus.edit_plans(4, lambda p: p["configurations"]["3d_fullres"].update(patch_size=[4, 8, 4]))
        assert "patch size (4, 8, 4)" in hippocampus(*command, fails=True).splitlines()[-1]
    finally:
        plans.write_text(before)


def test_short_variants_differ_in_epochs_only(hippocampus: StockNnUNet, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunet_ext import trainers

    plans = json.loads((next(hippocampus.preprocessed.glob("Dataset004*")) / "nnUNetPlans.json").read_text())
    description = json.loads((hippocampus.raw / "Dataset004_Hippocampus" / "dataset.json").read_text())
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, hippocampus.environment[name])
    for epochs in (5, 20, 50, 100, 250):
        short = getattr(trainers, f"nnUNetTrainerLKMUNet_{epochs}epochs")
        assert issubclass(short, nnUNetTrainerLKMUNet)
        arguments = (plans | {"continue_training": False}, "3d_fullres", 0, description)
        trainer = short(*arguments, device=torch.device("cpu"))
        assert trainer.num_epochs == epochs
        assert trainer.my_init_kwargs.keys() == {"plans", "configuration", "fold", "dataset_json", "device"}
