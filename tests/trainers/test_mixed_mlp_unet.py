"""The Mixed-MLP UNet trainers, without training."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from nnunet_ext import trainers
from nnunet_ext.architectures import MixedMLPUNet

from ..helpers.tiny import tiny_plans
from .contract import TrainerTester, build


class TestMixedMLPUNet(TrainerTester):
    name = "nnUNetTrainerMixedMLPUNet"
    network_class = MixedMLPUNet


class TestMixedMLPUNetPaper(TrainerTester):
    name = "nnUNetTrainerMixedMLPUNetPaper"
    network_class = MixedMLPUNet
    epochs = 150


def _trainer(**dataset_changes: Any) -> Any:
    plans, dataset = tiny_plans()
    plans["continue_training"] = False
    dataset.update(dataset_changes)
    return trainers.nnUNetTrainerMixedMLPUNetPaper(plans, "3d_fullres", 0, dataset, torch.device("cpu"))


@pytest.mark.usefixtures("nnunet_folders")
def test_the_papers_recipe() -> None:
    trainer = _trainer()
    trainer.network = build("nnUNetTrainerMixedMLPUNetPaper")
    optimizer, schedule = trainer.configure_optimizers()
    group = optimizer.param_groups[0]
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.9, 1e-4, False)
    rates = []
    for epoch in range(150):
        schedule.step(epoch)
        rates.append(group["lr"])
        assert schedule.get_last_lr() == [group["lr"]]
    assert rates[:5] == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05])
    assert rates[5:] == pytest.approx([0.05 * (1 - epoch / 150) ** 0.9 for epoch in range(5, 150)])
    assert trainer.num_epochs == 150
    assert not trainer.enable_deep_supervision


@pytest.mark.usefixtures("nnunet_folders")
def test_the_loss_is_cross_entropy() -> None:
    logits, labels = torch.randn(2, 2, 4, 4, 4), torch.randint(0, 2, (2, 1, 4, 4, 4))
    torch.testing.assert_close(_trainer()._build_loss()(logits, labels), F.cross_entropy(logits, labels[:, 0]))

    ignoring = _trainer(labels={"background": 0, "foreground": 1, "ignore": 2})._build_loss()
    labels[:, :, :2] = 2
    expected = F.cross_entropy(logits[:, :, 2:], labels[:, 0, 2:])
    torch.testing.assert_close(ignoring(logits, labels), expected)


@pytest.mark.usefixtures("nnunet_folders")
def test_regions_have_binary_cross_entropy() -> None:
    regions = {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]}
    logits, targets = torch.randn(2, 2, 4, 4, 4), torch.randint(0, 2, (2, 2, 4, 4, 4))
    expected = F.binary_cross_entropy_with_logits(logits, targets.float())
    torch.testing.assert_close(_trainer(**regions)._build_loss()(logits, targets), expected)
