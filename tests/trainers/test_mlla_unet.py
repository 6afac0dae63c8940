"""The MLLA-UNet trainers, without training."""

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.distributed as dist
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch.nn.parallel import DistributedDataParallel

from nnunet_ext import trainers
from nnunet_ext.architectures import MLLAUNet

from ..helpers.tiny import tiny_plans

NAMES = ["nnUNetTrainerMLLAUNet", "nnUNetTrainerMLLAUNetS", "nnUNetTrainerMLLAUNetB"]


def _build(name: str, plans: dict[str, Any] | None = None, deep_supervision: bool = False) -> torch.nn.Module:
    manager = PlansManager(plans or tiny_plans()[0])
    configuration = manager.get_configuration("3d_fullres")
    with torch.device("meta"):
        return getattr(trainers, name).build_network_architecture(manager, configuration, 2, 3, deep_supervision)


@pytest.mark.parametrize(("name", "width", "depths"), list(zip(NAMES, (64, 64, 96), (18, 36, 36), strict=True)))
def test_builds_the_network_of_its_name(name: str, width: int, depths: int) -> None:
    network = _build(name)
    assert isinstance(network, MLLAUNet)
    assert network.encoder.levels[0][0].channels == width
    assert sum(len(level) for level in network.encoder.levels) == depths
    assert network.total_stride == (4, 4, 4)
    assert not network.decoder.deep_supervision


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", ["", "_5epochs", "_20epochs", "_50epochs", "_100epochs", "_250epochs"])
def test_is_an_importable_class_of_nnunet(name: str, suffix: str) -> None:
    trainer = getattr(trainers, name + suffix)
    assert issubclass(trainer, nnUNetTrainer)
    assert trainer.__name__ == name + suffix
    assert pickle.loads(pickle.dumps(trainer)) is trainer
    assert trainer.epochs == (int(suffix[1:].removesuffix("epochs")) if suffix else None)


@pytest.mark.parametrize("deep_supervision", [False, True])
def test_deep_supervision_is_an_option(deep_supervision: bool, nnunet_folders: Any) -> None:
    class Trainer(trainers.nnUNetTrainerMLLAUNet):
        network_options = {"embed_dim": 8, "depths": (1, 1, 1, 1), "decoder_depths": (1, 1, 1), "num_heads": (1,) * 4}

    Trainer.deep_supervision = deep_supervision
    plans, dataset = tiny_plans()
    plans["continue_training"] = False
    trainer = Trainer(plans, "3d_fullres", 0, dataset, torch.device("cpu"))
    trainer.network = trainer.build_network_architecture(
        trainer.plans_manager, trainer.configuration_manager, 1, 2, trainer.enable_deep_supervision
    )
    assert trainer.enable_deep_supervision == deep_supervision
    trainer.set_deep_supervision_enabled(True)  # what nnU-Net does after validation
    assert trainer.network.decoder.deep_supervision == deep_supervision
    outputs = trainer.network(torch.randn(1, 1, 32, 32, 32))
    sizes = [output.shape[-1] for output in outputs] if deep_supervision else [outputs.shape[-1]]
    assert sizes == ([32, 16] if deep_supervision else [32])
    targets = [torch.zeros(1, 1, size, size, size) for size in sizes]
    assert trainer._build_loss()(outputs, targets if deep_supervision else targets[0]).isfinite()


def test_a_plans_file_can_name_the_network() -> None:
    plans, _ = tiny_plans()
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["network_class_name"] = "nnunet_ext.architectures.MLLAUNet"
    architecture["arch_kwargs"] |= {"embed_dim": 16, "num_heads": [1, 2, 4, 8]}
    manager = PlansManager(plans)
    configuration = manager.get_configuration("3d_fullres")
    network = nnUNetTrainer.build_network_architecture(manager, configuration, 1, 2, True)
    assert isinstance(network, MLLAUNet)
    assert [tuple(output.shape[2:]) for output in network(torch.zeros(1, 1, 32, 32, 32))] == [(32,) * 3, (16,) * 3]


def test_does_not_change_the_plans() -> None:
    plans, _ = tiny_plans()
    before = copy.deepcopy(plans)
    _build("nnUNetTrainerMLLAUNet", plans)
    assert plans == before


def test_unsuitable_patches_are_refused_with_the_remedy() -> None:
    plans, _ = tiny_plans()
    plans["configurations"]["3d_fullres"]["patch_size"] = [30, 32, 32]
    _build("nnUNetTrainerMLLAUNet", plans)  # is padded
    plans["configurations"]["3d_fullres"]["patch_size"] = [4, 4, 4]
    with pytest.raises(ValueError, match=r"the patch size \(4, .* a plan with fewer stages"):
        _build("nnUNetTrainerMLLAUNet", plans)


@pytest.mark.parametrize("deep_supervision", [False, True])
def test_distributed_training_finds_no_unused_parameter(deep_supervision: bool, tmp_path: Any) -> None:
    network = MLLAUNet(
        1,
        2,
        embed_dim=8,
        depths=(1, 1, 1, 1),
        decoder_depths=(1, 1, 1),
        num_heads=(1, 1, 2, 2),
        strides=[1, 2, 2, 2, 2],
        deep_supervision=deep_supervision,
    )
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        distributed = DistributedDataParallel(network)
        for _ in range(2):  # an unused parameter fails in the second step
            distributed.zero_grad(set_to_none=True)
            outputs = distributed(torch.randn(2, 1, 32, 64))
            sum(output.square().mean() for output in (outputs if deep_supervision else [outputs])).backward()
            assert all(p.grad is not None for p in network.parameters())
    finally:
        dist.destroy_process_group()
