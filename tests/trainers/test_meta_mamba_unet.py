"""The Meta Mamba UNet trainers, without training."""

from pathlib import Path

import pytest
import torch

from nnunet_ext import trainers
from nnunet_ext.architectures import MetaMambaUNet
from nnunet_ext.blocks.meta_ssm import MetaSSM

from ..helpers.tiny import tiny_plans
from .contract import TrainerTester, build


class TestMetaMambaUNet(TrainerTester):
    name = "nnUNetTrainerMetaMambaUNet"
    network_class = MetaMambaUNet


class TestMetaMambaUNetNoMamba(TrainerTester):
    name = "nnUNetTrainerMetaMambaUNetNoMamba"
    network_class = MetaMambaUNet

    def test_has_no_mamba(self) -> None:
        assert not any(isinstance(module, MetaSSM) for module in build(self.name).modules())


@pytest.mark.parametrize(
    ("n_stages", "expected"),
    [(3, [2 / 3, 1 / 3]), (4, [4 / 7, 2 / 7, 1 / 7]), (6, [4 / 7, 2 / 7, 1 / 7, 0, 0])],
)
def test_deep_supervision_weighs_the_three_highest_resolutions(
    n_stages: int, expected: list[float], nnunet_folders: Path
) -> None:
    plans, dataset = tiny_plans()
    plans["continue_training"] = False
    configuration = plans["configurations"]["3d_fullres"]
    configuration["architecture"]["arch_kwargs"]["strides"] = [[1] * 3] + [[2] * 3] * (n_stages - 1)
    trainer = trainers.nnUNetTrainerMetaMambaUNet(plans, "3d_fullres", 0, dataset, torch.device("cpu"))
    assert trainer._build_loss().weight_factors == pytest.approx(expected)


def test_a_plans_file_chooses_what_is_inferred_and_not_what_is_known() -> None:
    plans, _ = tiny_plans()
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"] |= {"scan": "uni", "d_state": 4}
    layers = [layer for layer in build("nnUNetTrainerMetaMambaUNet", plans).modules() if isinstance(layer, MetaSSM)]
    assert len(layers) == 2
    assert all(len(layer.orders) == 2 and layer.models[0].d_state == 4 for layer in layers)
