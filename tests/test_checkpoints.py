"""Import of released checkpoints."""

import warnings

import pytest
import torch

from nnunet_ext.architectures import LKMUNet, MLLAUNet
from nnunet_ext.checkpoints import convert_state_dict

from .helpers.mlla import classifier
from .plans import unet_arguments


def _released_name(ours: str) -> str:
    for layer, name in ((0, "mamba_layers"), (1, "w_mamba_layers")):
        parts = ours.split(".")
        if parts[:2] == ["encoder", "mixers"] and parts[3] == str(layer):
            return ".".join(["encoder", name, parts[2], *parts[5:]])
    return ours.replace("encoder.stem.", "encoder.stem.convs.0.")


@pytest.fixture
def network() -> LKMUNet:
    return LKMUNet(input_channels=1, num_classes=2, **unet_arguments((1, 1), (16, 16), base_features=2, n_conv=1))


def test_a_full_checkpoint_loads(network: LKMUNet) -> None:
    weights = {}
    for name, tensor in network.state_dict().items():
        released = _released_name(name)
        weights[f"module.{released}"] = tensor
        if released.startswith("encoder."):
            weights[f"module.decoder.{released}"] = tensor
        if ".conv1.conv." in released:
            weights["module." + released.replace(".conv1.conv.", ".conv1.all_modules.0.")] = tensor
    checkpoint = {"network_weights": weights, "current_epoch": 1000, "trainer_name": "nnUNetTrainerLKMUNet"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        converted = convert_state_dict(checkpoint, "lkm_unet")
    assert converted.keys() == network.state_dict().keys()
    network.load_state_dict(converted, strict=True)


def test_it_says_what_it_could_not_place(network: LKMUNet) -> None:
    weights = {_released_name(name): tensor for name, tensor in network.state_dict().items()}
    weights["encoder.stages.0.swin.weight"] = torch.zeros(1)
    with pytest.warns(UserWarning, match=r"could not place 1 entries of lkm_unet: encoder\.stages\.0\.swin\.weight"):
        converted = convert_state_dict(weights, "lkm_unet")
    assert "encoder.stages.0.swin.weight" not in converted


def test_foreign_weights_and_sources_are_refused() -> None:
    with pytest.raises(ValueError, match="none of the 1 entries belongs to lkm_unet"):
        convert_state_dict({"vit.blocks.0.weight": torch.zeros(1)}, "lkm_unet")
    with pytest.raises(ValueError, match="source is 'monai', expected one of 'lkm_unet'"):
        convert_state_dict({}, "monai")


def _classifier() -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return classifier(MLLAUNet(3, 2).encoder)


def test_imagenet_weights_fill_the_encoder_and_the_decoders_blocks() -> None:
    weights = _classifier()
    assert len(weights) == 517
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        converted = convert_state_dict({"model": weights}, "mlla_imagenet")
    with torch.device("meta"):
        network = MLLAUNet(3, 2)
    missing, unexpected = network.load_state_dict(converted, strict=False, assign=True)
    assert unexpected == []
    assert {name.rsplit(".", 1)[0] for name in missing if "levels" in name} == set()
    assert all(name.startswith("decoder.") for name in missing)
    n_loaded = sum(network.state_dict()[name].numel() for name in converted if "running" not in name)
    assert n_loaded == pytest.approx(26.16e6, rel=1e-3)
    assert converted["decoder.levels.0.1.attn.qk.weight"] is weights["layers.2.blocks.1.attn.qk.weight"]


def test_mlla_checkpoints_with_a_wrappers_prefix_load() -> None:
    weights = {f"module.mlla_unet.{name}": tensor for name, tensor in _classifier().items() if "head" not in name}
    converted = convert_state_dict(weights, "mlla_unet")
    assert len(converted) == 515 - 18
    assert "encoder.downs.2.reduce.norm.running_var" in converted
    with pytest.warns(UserWarning, match="could not place 1 entries of mlla_unet: head.bias"):
        convert_state_dict(weights | {"head.bias": torch.zeros(1)}, "mlla_unet")
