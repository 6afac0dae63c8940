"""The tests that every trainer passes without training; a trainer's test class inherits them and names it."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.network_architecture.nnUNetTrainerNoDeepSupervision import (
    nnUNetTrainerNoDeepSupervision,
)
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


def stock_trainer(name: str, stock: type[nnUNetTrainer]) -> nnUNetTrainer:
    """nnU-Net's own trainer `stock` with the network and the options of trainer `name`, from a plans file."""
    plans, dataset = tiny_plans()
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["network_class_name"] = getattr(trainers, name).network_class
    architecture["arch_kwargs"] |= getattr(trainers, name).network_options
    made = stock(plans | {"continue_training": False}, "3d_fullres", 0, dataset, torch.device("cpu"))
    made.network = made.build_network_architecture(
        made.plans_manager, made.configuration_manager, 1, 2, made.enable_deep_supervision
    )
    return made


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

    @pytest.mark.usefixtures("nnunet_folders")
    def test_nnunets_own_trainer_trains_the_network_that_a_plans_file_names(self) -> None:
        trainer = stock_trainer(self.name, nnUNetTrainer)
        assert isinstance(trainer.network, self.network_class)
        trainer.optimizer, _ = trainer.configure_optimizers()
        trainer.loss = trainer._build_loss()
        targets = [torch.randint(0, 2, (2, 1, size, size, size)) for size in (16, 8)]
        step = trainer.train_step({"data": torch.randn(2, 1, 16, 16, 16), "target": targets})
        assert np.isfinite(step["loss"])
        trainer.set_deep_supervision_enabled(False)
        for_inference = stock_trainer(self.name, nnUNetTrainerNoDeepSupervision).network.eval()
        for_inference.load_state_dict(trainer.network.state_dict(), strict=True)
        image = torch.randn(1, 1, 16, 16, 16)
        with torch.no_grad():
            assert torch.equal(for_inference(image), trainer.network.eval()(image))

    @pytest.mark.usefixtures("nnunet_folders")
    def test_nnunets_trainer_without_deep_supervision_ends_its_validation(self) -> None:
        trainer = stock_trainer(self.name, nnUNetTrainerNoDeepSupervision)
        trainer.set_deep_supervision_enabled(False)  # as nnU-Net does before its validation, and the contrary after it
        with torch.no_grad():
            assert isinstance(trainer.network(torch.randn(1, 1, 16, 16, 16)), torch.Tensor)
        trainer.set_deep_supervision_enabled(True)

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

    @pytest.mark.parametrize("deep_supervision", [True, False])
    def test_distributed_training_finds_no_unused_parameter(self, deep_supervision: bool, tmp_path: Any) -> None:
        # nnU-Net's weights under distributed training: the lowest output counts, but next to nothing.
        loss: Any = torch.nn.functional.mse_loss
        targets: Any = torch.zeros(1, 3, 16, 16, 16)
        if deep_supervision:
            loss, targets = DeepSupervisionWrapper(loss, [1.0, 1e-6]), [targets, torch.zeros(1, 3, 8, 8, 8)]
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
        try:
            network = DistributedDataParallel(build(self.name, enable_deep_supervision=deep_supervision))
            image = torch.randn(1, 2, 16, 16, 16)
            for _ in range(2):  # an unused parameter fails in the second step
                network.zero_grad(set_to_none=True)
                loss(network(image), targets).backward()
                assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
        finally:
            dist.destroy_process_group()
