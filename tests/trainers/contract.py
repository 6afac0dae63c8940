"""The tests that every trainer passes without training; a trainer's test class inherits them and names it."""

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.distributed as dist
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nnunet_ext import trainers

from ..helpers.tiny import tiny_plans


def build(name: str, plans: dict[str, Any] | None = None, **arguments: Any) -> nn.Module:
    """The network of trainer `name`."""
    manager = PlansManager(plans or tiny_plans()[0])
    trainer = getattr(trainers, name)
    return trainer.build_network_architecture(
        manager, manager.get_configuration("3d_fullres"), 2, 3, **{"enable_deep_supervision": True, **arguments}
    )


class TrainerTester:
    """Give the trainer's `name`, its `network_class`, and `epochs` where the recipe has its own."""

    name: str
    network_class: type[nn.Module]
    epochs: int | None = None

    def test_builds_the_network_of_its_name(self) -> None:
        network = build(self.name)
        assert isinstance(network, self.network_class)
        assert network.decoder.deep_supervision

    @pytest.mark.parametrize("suffix", ["", "_5epochs", "_20epochs", "_50epochs", "_100epochs", "_250epochs"])
    def test_is_an_importable_class_of_nnunet(self, suffix: str) -> None:
        trainer = getattr(trainers, self.name + suffix)
        assert issubclass(trainer, nnUNetTrainer)
        assert trainer.__name__ == self.name + suffix
        assert pickle.loads(pickle.dumps(trainer)) is trainer
        assert trainer.epochs == (int(suffix[1:].removesuffix("epochs")) if suffix else self.epochs)

    def test_residual_encoder_plans_work(self) -> None:
        plans, _ = tiny_plans()
        arguments = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
        arguments["n_blocks_per_stage"] = [1, 3, 4]
        del arguments["n_conv_per_stage"]
        arguments["n_conv_per_stage_decoder"] = [1, 1]
        network = build(self.name, plans, enable_deep_supervision=False)
        with torch.no_grad():
            assert network(torch.zeros(2, 2, 32, 32, 32)).shape == (2, 3, 32, 32, 32)

    def test_a_plans_file_can_name_the_network(self) -> None:
        plans, _ = tiny_plans()
        architecture = plans["configurations"]["3d_fullres"]["architecture"]
        architecture["network_class_name"] = getattr(trainers, self.name).network_class
        manager = PlansManager(plans)
        network = nnUNetTrainer.build_network_architecture(
            manager, manager.get_configuration("3d_fullres"), 1, 2, False
        )
        assert isinstance(network, self.network_class)

    def test_does_not_change_the_plans(self) -> None:
        plans, _ = tiny_plans()
        before = copy.deepcopy(plans)
        build(self.name, plans)
        assert plans == before

    @pytest.mark.parametrize("patch", [[4, 4, 4], [30, 32, 32]])
    def test_unsuitable_patches_are_refused_with_the_remedy(self, patch: list[int]) -> None:
        plans, _ = tiny_plans()
        plans["configurations"]["3d_fullres"]["patch_size"] = patch
        with pytest.raises(ValueError, match=rf"the patch size \({patch[0]}, .*(plan again|a plan with fewer stages)"):
            build(self.name, plans)

    def test_distributed_training_finds_no_unused_parameter(self, tmp_path: Any) -> None:
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
        try:
            network = DistributedDataParallel(build(self.name))
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
