"""The LKM-UNet trainers, without training."""

import copy
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch.nn.parallel import DistributedDataParallel

from nnunet_ext import trainers
from nnunet_ext.architectures import LKMUNet

from ..helpers.tiny import tiny_plans

NAMES = ["nnUNetTrainerLKMUNet", "nnUNetTrainerLKMUNetReleased", "nnUNetTrainerLKMUNetNoMamba"]


def _build(name: str, plans: dict[str, Any] | None = None, **arguments: Any) -> torch.nn.Module:
    manager = PlansManager(plans or tiny_plans()[0])
    trainer = getattr(trainers, name)
    return trainer.build_network_architecture(
        manager, manager.get_configuration("3d_fullres"), 2, 3, **{"enable_deep_supervision": True, **arguments}
    )


@pytest.mark.parametrize("name", NAMES)
def test_builds_the_network_of_its_name(name: str) -> None:
    network = _build(name)
    assert isinstance(network, LKMUNet)
    assert network.decoder.deep_supervision
    rows = network.plan_of_windows((32, 32, 32))
    assert bool(rows) == ("NoMamba" not in name)
    assert any(row.window is None for row in rows) == ("Released" in name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", ["", "_5epochs", "_20epochs", "_50epochs", "_100epochs", "_250epochs"])
def test_is_an_importable_class_of_nnunet(name: str, suffix: str) -> None:
    trainer = getattr(trainers, name + suffix)
    assert issubclass(trainer, nnUNetTrainer)
    assert trainer.__name__ == name + suffix
    assert pickle.loads(pickle.dumps(trainer)) is trainer
    assert trainer.epochs == (int(suffix[1:].removesuffix("epochs")) if suffix else None)


def test_unknown_trainers_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no trainer called nnUNetTrainerLKMUNetHuge"):
        _ = trainers.nnUNetTrainerLKMUNetHuge


def test_residual_encoder_plans_work() -> None:
    plans, _ = tiny_plans()
    arguments = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    arguments["n_blocks_per_stage"] = [1, 3, 4]
    del arguments["n_conv_per_stage"]
    network = _build("nnUNetTrainerLKMUNet", plans)
    assert [len(stage.blocks) for stage in network.encoder.stages] == [1, 3, 4]


def test_a_plans_file_can_name_the_network() -> None:
    plans, _ = tiny_plans()
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["network_class_name"] = "nnunet_ext.architectures.LKMUNet"
    architecture["arch_kwargs"]["use_pam"] = False
    manager = PlansManager(plans)
    network = nnUNetTrainer.build_network_architecture(manager, manager.get_configuration("3d_fullres"), 1, 2, False)
    assert isinstance(network, LKMUNet)
    assert {row.layer for row in network.plan_of_windows((32, 32, 32))} == {"PiM"}


def test_does_not_change_the_plans() -> None:
    plans, _ = tiny_plans()
    before = copy.deepcopy(plans)
    _build("nnUNetTrainerLKMUNetReleased", plans)
    assert plans == before


@pytest.mark.parametrize("patch", [[4, 4, 4], [30, 32, 32]])
def test_unsuitable_patches_are_refused_with_the_remedy(patch: list[int]) -> None:
    plans, _ = tiny_plans()
    plans["configurations"]["3d_fullres"]["patch_size"] = patch
    with pytest.raises(ValueError, match=rf"the patch size \({patch[0]}, .*(plan again|a plan with fewer stages)"):
        _build("nnUNetTrainerLKMUNet", plans)


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


@pytest.mark.parametrize("name", NAMES)
def test_distributed_training_finds_no_unused_parameter(name: str, tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        network = DistributedDataParallel(_build(name))
        # nnU-Net's weights under distributed training: the lowest output counts, but next to nothing.
        loss = DeepSupervisionWrapper(lambda output, target: (output - target).square().mean(), [1.0, 1e-6])
        image = torch.randn(1, 2, 16, 16, 16)
        targets = [torch.zeros(1, 3, 16, 16, 16), torch.zeros(1, 3, 8, 8, 8)]
        for _ in range(2):  # an unused parameter fails in the second step
            network.zero_grad(set_to_none=True)
            loss(network(image), targets).backward()
            assert all(p.grad is not None for p in network.parameters())
    finally:
        dist.destroy_process_group()
