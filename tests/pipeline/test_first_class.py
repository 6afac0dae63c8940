"""What nnU-Net's own trainers can do, ours must too: labels of every kind, cascades, resuming, fine-tuning."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nnunet_ext.trainers import nnUNetTrainerLKMUNet

from .stock import StockNnUNet

pytestmark = pytest.mark.slow


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

    def until(self, text: str) -> list[str]:
        return self.nnunet.read_until(self.process, text)

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
    long_training.until("Epoch 0")
    assert long_training.interrupt(signal.SIGTERM, group=False) == 75
    assert (long_training.fold / "checkpoint_latest.pth").is_file()

    long_training.start("--c")
    long_training.until("Epoch 0")
    long_training.until("Epoch 1")
    assert long_training.interrupt(signal.SIGUSR1, group=True) == 75

    long_training.start("--c")
    assert not any("Epoch 0" in line for line in long_training.until("Epoch 1"))
    assert long_training.interrupt(signal.SIGTERM, group=True) == 75

    long_training.start("--c")
    long_training.until("Epoch 1")
    assert long_training.interrupt(signal.SIGKILL, group=True) == -signal.SIGKILL
    assert torch.load(long_training.fold / "checkpoint_latest.pth", weights_only=False)["current_epoch"] == 1

    long_training.start("--c")
    output = "".join(long_training.until("predicting"))
    assert long_training.interrupt(signal.SIGTERM, group=True, seconds=0) == 75

    long_training.start("--c")
    long_training.until("Validation complete")
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
