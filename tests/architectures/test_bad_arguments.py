"""Impossible arguments of every network get one sentence that names the value and what was expected."""

from typing import Any

import pytest
import torch
from torch import nn

from nnunet_ext.architectures import LKMUNet, MetaMambaUNet, MixedMLPUNet, MLLAUNet, UMambaBot

from ..plans import unet_arguments

UNETS = [LKMUNet, MetaMambaUNet, MixedMLPUNet, UMambaBot]
TINY_MLLA = {"embed_dim": 8, "depths": (1, 1, 1, 1), "decoder_depths": (1, 1, 1), "num_heads": (1, 1, 1, 1)}


def _build(network_class: type[nn.Module], n_axes: int = 2, **changes: Any) -> nn.Module:
    """A network of four stages."""
    arguments = unet_arguments((1.0,) * n_axes, (32,) * n_axes, base_features=2, max_features=8)
    sizes = TINY_MLLA if network_class is MLLAUNet else {}
    return network_class(**{"input_channels": 1, "num_classes": 2, **arguments, **sizes, **changes})


def _refuses(network_class: type[nn.Module], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        _build(network_class, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("network_class", [*UNETS, MLLAUNet])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conv_op": nn.Conv1d}, "conv_op is .*Conv1d.*, expected torch.nn.Conv2d or torch.nn.Conv3d"),
        ({"conv_op": nn.Conv3d, "norm_op": None}, "strides is .*, expected 3 numbers"),
        ({"norm_op": nn.InstanceNorm3d}, "norm_op is InstanceNorm3d, expected one for 2 axes, as conv_op is Conv2d"),
        ({"norm_op": nn.BatchNorm1d}, "norm_op is BatchNorm1d, expected one for 2 axes"),
        ({"input_channels": 0}, "input_channels is 0, expected at least 1"),
        ({"input_channels": 1.5}, "input_channels is 1.5, expected at least 1"),
        ({"num_classes": -2}, "num_classes is -2, expected at least 1"),
        ({"strides": [1, 0, 2, 2]}, r"strides is \[1, 0, 2, 2\], expected"),
        ({"strides": [1, -2, 2, 2]}, r"strides is \[1, -2, 2, 2\], expected"),
        ({"strides": [2, 2, 2, 2]}, r"strides is \[2, 2, 2, 2\], expected .*1 in the first stage"),
        ({"strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]]}, "strides is .*, expected 2 numbers"),
    ],
)
def test_of_every_network(network_class: type[nn.Module], options: dict[str, Any], message: str) -> None:
    _refuses(network_class, options, message)


@pytest.mark.parametrize("network_class", UNETS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout_op": nn.Dropout3d}, "dropout_op is Dropout3d, expected one for 2 axes"),
        ({"n_stages": -1}, "n_stages is -1, but a U-Net needs at least 2 stages"),
        ({"features_per_stage": [4, 8]}, "features_per_stage has 2 entries, expected 4"),
        (
            {"features_per_stage": [4, -8, 8, 8]},
            r"features_per_stage is \[4, -8, 8, 8\], expected numbers of at",
        ),
        ({"features_per_stage": 0}, "features_per_stage is 0, expected numbers of at least 1"),
        ({"kernel_sizes": 2}, "kernel_sizes is 2, expected odd numbers"),
        ({"kernel_sizes": -3}, "kernel_sizes is -3, expected 2 numbers of at least 1 per stage"),
        ({"kernel_sizes": [3, 3]}, "kernel_sizes has 2 entries, expected 4"),
        ({"n_conv_per_stage": [1, -1, 1, 1]}, r"n_conv_per_stage .*is \[1, -1, 1, 1\], expected numbers of at least 1"),
        ({"n_conv_per_stage_decoder": 0}, "n_conv_per_stage_decoder is 0, expected numbers of at least 1"),
        ({"n_conv_per_stage": None}, "give either n_conv_per_stage or n_blocks_per_stage"),
    ],
)
def test_of_the_unets(network_class: type[nn.Module], options: dict[str, Any], message: str) -> None:
    _refuses(network_class, options, message)


@pytest.mark.parametrize(
    ("network_class", "options", "message"),
    [
        (LKMUNet, {"windows": 5}, "windows is 5, expected 4 windows of 2 positive numbers"),
        (LKMUNet, {"windows": [5, 5, 5, 5]}, r"windows is \[5, 5, 5, 5\], expected 4 windows of 2 positive numbers"),
        (LKMUNet, {"windows": [[5, 0]] * 4}, "expected 4 windows of 2 positive numbers"),
        (LKMUNet, {"windows": [[5, 5, 5]] * 4}, "expected 4 windows of 2 positive numbers"),
        (MetaMambaUNet, {"d_state": -1}, "d_state is -1, expected at least 1"),
        (MetaMambaUNet, {"d_state": 1.5}, "d_state is 1.5, expected at least 1"),
        (MetaMambaUNet, {"expand": 0}, "expand is 0, expected at least 1"),
        (MetaMambaUNet, {"ssm": "mamba3"}, "ssm is 'mamba3', expected one of 'mamba1', 'mamba2'"),
        (MixedMLPUNet, {"ratio": 0}, "ratio is 0, expected a positive number"),
        (MixedMLPUNet, {"block_sizes": 2}, "block_sizes is 2, expected one positive number per group"),
        (MixedMLPUNet, {"block_sizes": ()}, r"block_sizes is \(\), expected one positive number per group"),
        (MixedMLPUNet, {"token_mixing": "global", "patch_size": (32,)}, r"patch_size \(32,\) must have 2 axes"),
        (
            MixedMLPUNet,
            {"block_counts": (1,), "patch_size": (0, 32)},
            r"patch_size \(0, 32\) must have 2 axes, each",
        ),
        (MLLAUNet, {"embed_dim": -8}, "embed_dim is -8, expected a positive even number"),
        (MLLAUNet, {"depths": 4}, "depths is 4, expected 4 positive numbers"),
        (MLLAUNet, {"decoder_depths": (1, 1)}, r"decoder_depths is \(1, 1\), expected 3 positive numbers"),
        (MLLAUNet, {"num_heads": (0, 1, 1, 1)}, r"num_heads is \(0, 1, 1, 1\), expected 4 positive numbers"),
        (MLLAUNet, {"num_heads": (3, 1, 1, 1)}, "3 attention heads do not divide 8 channels"),
        (MLLAUNet, {"drop_path": -0.1}, "drop_path is -0.1, expected a probability"),
    ],
)
def test_of_one_network(network_class: type[nn.Module], options: dict[str, Any], message: str) -> None:
    _refuses(network_class, options, message)


@pytest.mark.parametrize("network_class", [*UNETS, MLLAUNet])
@pytest.mark.parametrize("size", [(32,), (32, 32, 32), (0, 32), (-32, 32)])
def test_sizes_of_other_axes(network_class: type[nn.Module], size: tuple[int, ...]) -> None:
    network = _build(network_class)
    for take in (network.check_patch_size, network.stage_sizes, network.compute_conv_feature_map_size):
        with pytest.raises(ValueError, match=r"size \(.*\) must have 2 axes, each at least 1"):
            take(size)


@pytest.mark.parametrize("network_class", [*UNETS, MLLAUNet])
@pytest.mark.parametrize("n_axes", [2, 3])
def test_images_of_other_axes(network_class: type[nn.Module], n_axes: int) -> None:
    image = torch.zeros(1, 1, *[32] * (5 - n_axes))
    with pytest.raises(ValueError, match=rf"the image has the shape .*, expected batch, channels and {n_axes} axes"):
        _build(network_class, n_axes)(image)


@pytest.mark.parametrize(
    ("network_class", "options"),
    [(MixedMLPUNet, {"auxiliary_heads": False}), (MLLAUNet, {"deep_supervision": False})],
)
def test_deep_supervision_stays_off_without_its_heads(network_class: type[nn.Module], options: dict[str, Any]) -> None:
    network = _build(network_class, **options)
    network.decoder.deep_supervision = True  # as nnUNetTrainerNoDeepSupervision does after validation
    assert not network.decoder.deep_supervision
    assert network(torch.zeros(1, 1, 64, 32)).shape == (1, 2, 64, 32)
