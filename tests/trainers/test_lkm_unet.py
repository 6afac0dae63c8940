"""The LKM-UNet trainers, without training."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext import trainers
from nnunet_ext.architectures import LKMUNet

from ..helpers.tiny import tiny_plans
from .contract import TrainerTester, build


class TestLKMUNet(TrainerTester):
    name = "nnUNetTrainerLKMUNet"
    network_class = LKMUNet


class TestLKMUNetReleased(TrainerTester):
    name = "nnUNetTrainerLKMUNetReleased"
    network_class = LKMUNet


class TestLKMUNetNoMamba(TrainerTester):
    name = "nnUNetTrainerLKMUNetNoMamba"
    network_class = LKMUNet


@pytest.mark.parametrize(
    "name", ["nnUNetTrainerLKMUNet", "nnUNetTrainerLKMUNetReleased", "nnUNetTrainerLKMUNetNoMamba"]
)
def test_has_the_windows_of_its_name(name: str) -> None:
    rows = build(name).plan_of_windows((32, 32, 32))
    assert bool(rows) == ("NoMamba" not in name)
    assert any(row.window is None for row in rows) == ("Released" in name)


def test_unknown_trainers_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no trainer called nnUNetTrainerLKMUNetHuge"):
        _ = trainers.nnUNetTrainerLKMUNetHuge


def test_residual_encoder_plans_count_blocks() -> None:
    plans, _ = tiny_plans()
    arguments = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    arguments["n_blocks_per_stage"] = [1, 3, 4]
    del arguments["n_conv_per_stage"]
    network = build("nnUNetTrainerLKMUNet", plans)
    assert [len(stage.blocks) for stage in network.encoder.stages] == [1, 3, 4]


def test_a_plans_file_can_give_options() -> None:
    plans, _ = tiny_plans()
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["network_class_name"] = "nnunet_ext.architectures.LKMUNet"
    architecture["arch_kwargs"]["use_pam"] = False
    manager = PlansManager(plans)
    network = nnUNetTrainer.build_network_architecture(manager, manager.get_configuration("3d_fullres"), 1, 2, False)
    assert isinstance(network, LKMUNet)
    assert {row.layer for row in network.plan_of_windows((32, 32, 32))} == {"PiM"}


def _trainer(plans: dict[str, Any]) -> nnUNetTrainer:
    description = tiny_plans()[1]
    arguments = (plans | {"continue_training": False}, "3d_fullres", 0, description)
    return trainers.nnUNetTrainerLKMUNet(*arguments, device=torch.device("cpu"))


def test_one_output_is_trained_without_deep_supervision(nnunet_folders: Path) -> None:
    plans, _ = tiny_plans()
    assert _trainer(plans).enable_deep_supervision
    arguments = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    arguments |= {"n_stages": 2, "features_per_stage": [8, 16], "n_conv_per_stage_decoder": [2]}
    for name in ("kernel_sizes", "strides", "n_conv_per_stage"):
        arguments[name] = arguments[name][:2]
    trainer = _trainer(plans)
    assert not trainer.enable_deep_supervision
    assert torch.isfinite(trainer._build_loss()(torch.zeros(1, 2, 8, 8, 8), torch.zeros(1, 1, 8, 8, 8)))


def test_a_kill_while_saving_leaves_the_old_checkpoint(
    nnunet_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = _trainer(tiny_plans()[0])
    trainer.network = torch.nn.Linear(2, 2)
    trainer.optimizer = torch.optim.SGD(trainer.network.parameters(), lr=0.1)
    file = tmp_path / "checkpoint_latest.pth"
    trainer.save_checkpoint(str(file))
    before = file.read_bytes()

    def killed(checkpoint: object, name: str) -> None:
        Path(name).write_bytes(b"half of")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        trainer.save_checkpoint(str(file))
    assert file.read_bytes() == before


def test_saves_what_resuming_takes_by_the_clock(nnunet_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = _trainer(tiny_plans()[0])
    trainer.network = torch.nn.Linear(2, 2)
    trainer.optimizer = torch.optim.SGD(trainer.network.parameters(), lr=0.1)
    trainer.save_every = 7
    clock = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    saved = []
    for epoch in range(6):
        clock += 4 * 60
        trainer.on_epoch_start()
        trainer.logger.log("lrs", 0.01, epoch)
        for key in ("train_losses", "val_losses"):
            trainer.logger.log(key, 1.0, epoch)
        trainer.logger.log("dice_per_class_or_region", [0.1 * epoch], epoch)
        trainer.logger.log("mean_fg_dice", 0.1 * epoch, epoch)  # ever better, so that every epoch saves a best one
        trainer.on_epoch_end()
        latest = Path(trainer.output_folder, "checkpoint_latest.pth")
        saved.append(torch.load(latest, weights_only=False)["current_epoch"] if latest.exists() else None)
    assert saved == [None, None, 3, 3, 3, 6]  # every third epoch of four minutes
    assert trainer.save_every == 7
