"""The MLLA-UNet trainers, without training."""

import json
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext import imagenet, trainers
from nnunet_ext.architectures import MLLAUNet

from ..helpers.mlla import classifier
from ..helpers.tiny import tiny_dataset, tiny_plans
from .contract import TrainerTester, build

NAMES = ["nnUNetTrainerMLLAUNet", "nnUNetTrainerMLLAUNetS", "nnUNetTrainerMLLAUNetB", "nnUNetTrainerMLLAUNetReleased"]
TINY = {"embed_dim": 8, "depths": (1, 1, 1, 1), "decoder_depths": (1, 1, 1), "num_heads": (1, 1, 1, 1)}


class MLLATrainerTester(TrainerTester):
    network_class = MLLAUNet

    # Unlike the U-Nets it pads what its strides do not divide.
    def test_unsuitable_patches_are_refused_with_the_remedy(self) -> None:
        plans, _ = tiny_plans()
        plans["configurations"]["3d_fullres"]["patch_size"] = [31, 32, 32]
        build(self.name, plans, enable_deep_supervision=False)
        plans["configurations"]["3d_fullres"]["patch_size"] = [4, 4, 4]
        with pytest.raises(ValueError, match=r"the patch size \(4, .* a plan with fewer stages"):
            build(self.name, plans)


class TestMLLAUNet(MLLATrainerTester):
    name = "nnUNetTrainerMLLAUNet"


class MLLASizeTester(MLLATrainerTester):
    """The blocks of size T in other numbers: training them shows nothing new and takes gigabytes."""

    test_nnunets_own_trainer_trains_the_network_that_a_plans_file_names = None
    test_nnunets_trainer_without_deep_supervision_ends_its_validation = None
    test_distributed_training_finds_no_unused_parameter = None


class TestMLLAUNetReleased(MLLASizeTester):
    name = "nnUNetTrainerMLLAUNetReleased"
    epochs = 120


class TestMLLAUNetS(MLLASizeTester):
    name = "nnUNetTrainerMLLAUNetS"


class TestMLLAUNetB(MLLASizeTester):
    name = "nnUNetTrainerMLLAUNetB"


@pytest.mark.parametrize(("name", "width", "depths"), list(zip(NAMES, (64, 64, 96, 64), (18, 36, 36, 18), strict=True)))
def test_builds_the_size_of_its_name(name: str, width: int, depths: int) -> None:
    with torch.device("meta"):
        network = build(name, enable_deep_supervision=False)
    assert network.encoder.levels[0][0].channels == width
    assert sum(len(level) for level in network.encoder.levels) == depths
    assert network.total_stride == (4, 4, 4)
    assert not network.decoder.deep_supervision


@pytest.mark.parametrize("deep_supervision", [False, True])
def test_deep_supervision_is_an_option(deep_supervision: bool, nnunet_folders: Any) -> None:
    class Trainer(trainers.nnUNetTrainerMLLAUNet):
        network_options = TINY

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


def test_a_plans_file_gives_the_options() -> None:
    plans, _ = tiny_plans()
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["network_class_name"] = "nnunet_ext.architectures.MLLAUNet"
    architecture["arch_kwargs"] |= {"embed_dim": 16, "num_heads": [1, 2, 4, 8]}
    manager = PlansManager(plans)
    network = nnUNetTrainer.build_network_architecture(manager, manager.get_configuration("3d_fullres"), 1, 2, True)
    assert [tuple(output.shape[2:]) for output in network(torch.zeros(1, 1, 32, 32, 32))] == [(32,) * 3, (16,) * 3]


class _TinyTrainer(trainers.nnUNetTrainerMLLAUNet):
    network_options = TINY


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """make(configuration="2d"): a tiny trainer, of which `on_train_start` ends after the network's start."""
    for name, folder in tiny_dataset(tmp_path).items():
        monkeypatch.setenv(name, folder)
    plans, dataset = tiny_plans()
    in_3d = plans["configurations"]["3d_fullres"]
    in_2d = json.loads(json.dumps(in_3d).replace("3d_fullres", "2d").replace("Conv3d", "Conv2d").replace("m3d", "m2d"))
    in_2d["patch_size"] = [64, 64]
    in_2d["architecture"]["arch_kwargs"] |= {"kernel_sizes": [[3, 3]] * 3, "strides": [[1, 1], [2, 2], [2, 2]]}
    plans["configurations"]["2d"] = in_2d
    for configuration in ("2d", "3d_fullres"):
        cases = tmp_path / "nnUNet_preprocessed" / "Dataset999_Tiny" / f"nnUNetPlans_{configuration}"
        cases.mkdir()
        (cases / "case.npz").touch()
    monkeypatch.setattr(nnUNetTrainer, "on_train_start", lambda _: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def make(configuration: str = "2d") -> nnUNetTrainer:
        return _TinyTrainer({**plans, "continue_training": False}, configuration, 0, dataset, torch.device("cpu"))

    return make


@pytest.fixture
def imagenet_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, torch.Tensor]:
    """The file that the variable names, and one of its weights, under our name `encoder.norm.weight`."""
    weights = classifier(MLLAUNet(3, 2, **TINY).encoder)
    torch.nn.init.normal_(weights["norm.weight"])
    torch.save({"model": weights}, tmp_path / "imagenet.pth")
    monkeypatch.setenv(imagenet.VARIABLE, str(tmp_path / "imagenet.pth"))
    return tmp_path / "imagenet.pth", weights["norm.weight"]


def _log(trainer: Any) -> str:
    return Path(trainer.log_file).read_text()


def test_a_new_training_starts_from_imagenet(trainer: Any, imagenet_file: tuple[Path, torch.Tensor]) -> None:
    new = trainer()
    maybe_load_checkpoint(new, continue_training=False, validation_only=False)
    new.on_train_start()
    assert torch.equal(new.network.encoder.norm.weight, imagenet_file[1])
    assert f"from {imagenet_file[0]} (SHA256" in _log(new)


@pytest.mark.parametrize("value", [None, ""])
def test_nothing_is_loaded_unasked(value: str | None, trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is not None:
        monkeypatch.setenv(imagenet.VARIABLE, value)
    new = trainer()
    new.on_train_start()
    assert "ImageNet" not in _log(new)


def test_other_weights_win_and_the_file_is_not_needed(
    trainer: Any, imagenet_file: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    first = trainer()
    first.on_train_start()
    torch.nn.init.normal_(first.network.encoder.norm.weight)
    latest = str(Path(first.output_folder) / "checkpoint_latest.pth")
    first.save_checkpoint(latest)
    imagenet_file[0].unlink()
    for continuing, pretrained in ((True, None), (False, latest)):
        after = trainer()
        maybe_load_checkpoint(after, continuing, False, pretrained)
        after.on_train_start()
        assert torch.equal(after.network.encoder.norm.weight, first.network.encoder.norm.weight)
        assert "NNUNET_EXT_MLLA_IMAGENET is passed over" in _log(after)
    build("nnUNetTrainerMLLAUNet")  # as for inference


def test_continuing_before_the_first_checkpoint_is_a_new_training(
    trainer: Any, imagenet_file: tuple[Path, torch.Tensor]
) -> None:
    new = trainer()
    maybe_load_checkpoint(new, continue_training=True, validation_only=False)
    new.on_train_start()
    assert torch.equal(new.network.encoder.norm.weight, imagenet_file[1])


def test_3d_is_refused_before_anything_is_downloaded(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(imagenet.VARIABLE, f"http://localhost:9/file#sha256={'0' * 64}")
    with pytest.raises(ValueError, match="is 3D: unset the variable"):
        trainer("3d_fullres").on_train_start()


def test_of_several_ranks_the_first_fetches_before_the_others(
    trainer: Any, imagenet_file: tuple[Path, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fetch = imagenet.fetch
    monkeypatch.setattr(dist, "barrier", lambda: events.append("barrier"))
    monkeypatch.setattr(imagenet, "fetch", lambda source: (events.append("fetch"), fetch(source))[1])
    for rank, expected in ((0, ["fetch", "barrier"]), (1, ["barrier", "fetch"])):
        new = trainer()
        new.initialize()
        new.network = torch.nn.ModuleDict({"module": new.network})  # what DistributedDataParallel calls it
        new.is_ddp, new.local_rank = True, rank
        events.clear()
        new._load_imagenet(str(imagenet_file[0]))
        assert events == expected
        assert torch.equal(new.network.module.encoder.norm.weight, imagenet_file[1])


@pytest.mark.parametrize("suffix", ["", "_20epochs"])
def test_the_authors_recipe(suffix: str, nnunet_folders: Path) -> None:
    plans, dataset = tiny_plans()
    plans["continue_training"] = False
    plans["configurations"]["3d_fullres"]["batch_size"] = 6
    name = f"nnUNetTrainerMLLAUNetReleased{suffix}"
    recipe = getattr(trainers, name)(plans, "3d_fullres", 0, dataset, torch.device("cpu"))
    recipe.network = torch.nn.Linear(1, 1)
    optimizer, schedule = recipe.configure_optimizers()
    assert type(optimizer) is torch.optim.AdamW
    (group,) = optimizer.param_groups
    assert (group["weight_decay"], group["betas"]) == (0.01, (0.9, 0.999))
    epochs = 20 if suffix else 120
    assert recipe.num_epochs == epochs
    assert group["lr"] == pytest.approx(0.0005)
    for epoch in (0, 3, epochs - 1):  # in any order, as a training that continues asks
        schedule.step(epoch)
        assert group["lr"] == pytest.approx(1e-6 + (0.0005 - 1e-6) * (1 + cos(pi * epoch / epochs)) / 2)
    assert schedule.get_last_lr() == [group["lr"]]


def test_weights_for_other_labels_are_left_out_as_nnunet_fine_tunes(tmp_path: Any) -> None:
    source = MLLAUNet(1, 3, **TINY, deep_supervision=True, strides=[1, 2, 2])
    target = MLLAUNet(1, 5, **TINY, deep_supervision=True, strides=[1, 2, 2])
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    torch.save({"network_weights": source.state_dict()}, tmp_path / "checkpoint_final.pth")
    load_pretrained_weights(target, str(tmp_path / "checkpoint_final.pth"))
    for name, tensor in target.state_dict().items():
        expected = before[name] if ".seg_layers." in name else source.state_dict()[name]
        assert torch.equal(tensor, expected), name
