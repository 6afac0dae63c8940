"""LKM-UNet: equal to its authors' code in released mode, as the paper says in the default mode, for any plan."""

import json
from typing import Any

import pytest
import torch
from torch import nn

from nnunet_ext.architectures import LKMUNet
from nnunet_ext.blocks.windows import derived_window
from nnunet_ext.checkpoints import convert_state_dict

from ..plans import random_plans, topology, unet_arguments
from ..reference import load_reference, relative_error
from .tester import ArchitectureTester

RELEASED = {"pim_partition": "grid", "pam_pool": "pow2", "windows": "released"}


class TestLKMUNet(ArchitectureTester):
    network_class = LKMUNet


class TestLKMUNetReleased(ArchitectureTester):
    network_class = LKMUNet
    options = RELEASED


class TestLKMUNetNoMamba(ArchitectureTester):
    network_class = LKMUNet
    options = {"use_pim": False, "use_pam": False}
    every = 3


class TestLKMUNetWithPiMOneWay(ArchitectureTester):
    network_class = LKMUNet
    options = {"use_pam": False, "bidirectional": False}
    every = 3
    test_compiles_without_graph_breaks = None  # the same modules as above


class TestLKMUNetWithPaM(ArchitectureTester):
    network_class = LKMUNet
    options = {"use_pim": False}
    every = 3
    test_compiles_without_graph_breaks = None  # the same modules as above


@pytest.mark.parametrize("name", ["2d", "3d", "2d_fallback"])
def test_released_mode_equals_the_authors_network(name: str) -> None:
    reference = load_reference(f"lkm_unet_released_{name}")
    config = json.loads(reference["config_json"].tobytes())
    three_d = config["dim"] == 3
    network = LKMUNet(
        config["input_channels"],
        len(config["strides"]),
        config["features_per_stage"],
        nn.Conv3d if three_d else nn.Conv2d,
        config["kernel_sizes"],
        config["strides"],
        config["num_classes"],
        config["n_blocks_per_stage_decoder"],
        n_blocks_per_stage=config["n_blocks_per_stage"],
        conv_bias=True,
        norm_op=nn.InstanceNorm3d if three_d else nn.InstanceNorm2d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
        **RELEASED,
    )
    state = {key.removeprefix("param."): torch.from_numpy(reference[key]) for key in reference if "param." in key}
    network.load_state_dict(convert_state_dict(state, "lkm_unet"), strict=True)
    image = torch.from_numpy(reference["input"]).requires_grad_()
    outputs = network(image)
    cotangents = [torch.from_numpy(reference[f"cotangent.{i}"]) for i in range(len(outputs))]
    for i, output in enumerate(outputs):
        assert relative_error(output, reference[f"output.{i}"]) < 2e-6
    sum((output * cotangent).sum() for output, cotangent in zip(outputs, cotangents, strict=True)).backward()
    assert image.grad is not None
    assert relative_error(image.grad, reference["grad_input"]) < 2e-6


def test_one_state_dict_loads_in_both_modes_and_they_differ() -> None:
    arguments = unet_arguments((1, 1), (40, 40), base_features=4, max_features=16)
    paper = LKMUNet(input_channels=1, num_classes=2, **arguments).eval()
    released = LKMUNet(input_channels=1, num_classes=2, **arguments, **RELEASED).eval()
    with torch.no_grad():
        for parameter in paper.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    released.load_state_dict(paper.state_dict(), strict=True)
    image = torch.randn(1, 1, 40, 40)
    with torch.no_grad():
        assert relative_error(paper(image), released(image)) > 1e-3


# Millions of parameters, counted in the authors' code: (spacing, patch, flat kernels, classes, total, PiM, PaM).
# The plan of 28 x 256 x 256 has one more flat kernel (1, 3, 3) than nnU-Net's topology gives it today.
COUNTS = {
    "ct-3d": ((2.5, 0.8, 0.8), (40, 224, 192), 1, 14, 63.78, 3.31, 3.31),
    "mr-2d": ((1, 1), (320, 320), 0, 14, 80.89, 9.62, 9.62),
    "3d-128": ((1, 1, 1), (128, 128, 128), 0, 14, 64.37, 3.31, 3.31),
    "3d-28x256": ((3, 1, 1), (28, 256, 256), 2, 14, 90.63, 4.46, 4.46),
    "2d-512": ((1, 1), (512, 512), 0, 14, 109.45, 12.49, 12.49),
    "hippocampus": ((1, 1, 1), (40, 56, 40), 0, 3, 13.62, 1.02, 1.02),
}


@pytest.mark.parametrize(("spacing", "patch", "flat", "classes", "total", "pim", "pam"), COUNTS.values(), ids=COUNTS)
def test_parameter_counts(
    spacing: tuple[float, ...], patch: tuple[int, ...], flat: int, classes: int, total: float, pim: float, pam: float
) -> None:
    arguments = unet_arguments(spacing, patch)
    arguments["kernel_sizes"][:flat] = [(1, 3, 3)] * flat

    def millions(**options: Any) -> float:
        with torch.device("meta"):
            network = LKMUNet(input_channels=1, num_classes=classes, **arguments, **options)
        return sum(p.numel() for p in network.parameters()) / 1e6

    whole = millions()
    assert round(whole, 2) == total
    assert round(whole - millions(use_pim=False), 2) == pim
    assert round(whole - millions(use_pam=False), 2) == pam


def test_windows_of_the_papers_two_plans() -> None:
    strides, _, _ = topology((1, 1), (320, 320))
    sizes = [320, 160, 80, 40, 20, 10, 5]
    windows = [derived_window(stage, strides).window((size, size)) for stage, size in enumerate(sizes)]
    assert windows == [(w, w) for w in (40, 20, 20, 10, 10, 5, 5)]

    strides, _, _ = topology((2.5, 0.8, 0.8), (40, 224, 192))
    maps = [(40, 224, 192), (40, 112, 96), (20, 56, 48), (10, 28, 24), (5, 14, 12), (5, 7, 6)]
    windows = [derived_window(stage, strides).window(size) for stage, size in enumerate(maps)]
    assert windows == [(20, 28, 24)] * 2 + [(10, 14, 12)] * 2 + [(5, 7, 6)] * 2


@pytest.mark.parametrize("n_axes", [2, 3])
def test_derived_windows_divide_every_map_of_every_plan(n_axes: int) -> None:
    for spacing, patch in random_plans(500, n_axes, 320, seed=1):
        strides, _, _ = topology(spacing, patch)
        size = patch
        for stage, stride in enumerate(strides):
            size = tuple(s // step for s, step in zip(size, stride, strict=True))
            window = derived_window(stage, strides).window(size)
            assert all(w >= 1 and s % w == 0 for s, w in zip(size, window, strict=True)), (spacing, patch)
        assert window == size


def _seen_by(network: LKMUNet, pixel: tuple[int, int], size: int) -> set[tuple[int, int]]:
    """Pixels of the first stage's map on which PiM's output at `pixel` depends."""
    x = torch.randn(1, 4, size, size, requires_grad=True)
    layer = network.encoder.mixers[0][0]
    layer(x)[0, :, pixel[0], pixel[1]].sum().backward()
    rows, columns = x.grad[0].abs().sum(0).nonzero(as_tuple=True)
    return set(zip(rows.tolist(), columns.tolist(), strict=True))


def test_which_pixels_see_which() -> None:
    arguments = unet_arguments((1, 1), (20, 20), base_features=4, max_features=8, n_conv=1)
    windows = [[5, 5]] * arguments["n_stages"]
    inside = LKMUNet(input_channels=1, num_classes=2, **arguments, windows=windows)
    assert _seen_by(inside, (12, 7), 20) == {(r, c) for r in range(10, 15) for c in range(5, 10)}
    grid = LKMUNet(input_channels=1, num_classes=2, **arguments, windows=windows, pim_partition="grid")
    assert _seen_by(grid, (12, 7), 20) == {(r, c) for r in (2, 7, 12, 17) for c in (2, 7, 12, 17)}


def test_patch_mamba_reaches_the_whole_map_and_repeats_over_windows() -> None:
    arguments = unet_arguments((1, 1), (32, 32), base_features=4, max_features=8, n_conv=1)
    network = LKMUNet(input_channels=1, num_classes=2, **arguments)
    pam = network.encoder.mixers[0][1]
    x = torch.randn(1, 4, 32, 32, requires_grad=True)
    change = pam(x) - x
    window = pam.rule.window((32, 32))
    first = change[..., : window[0], : window[1]]
    torch.testing.assert_close(first, first[..., :1, :1].expand_as(first), rtol=1e-4, atol=1e-6)
    change[0, :, 3, 3].sum().backward()
    assert (x.grad.abs().sum((0, 1)) > 0).all()


def test_the_log_says_where_released_windows_do_not_fit() -> None:
    arguments = unet_arguments((1, 1, 1), (64, 64, 64), base_features=2, max_features=4, n_conv=1)
    released = LKMUNet(input_channels=1, num_classes=2, **arguments, **RELEASED)
    rows = released.plan_of_windows((64, 64, 64))
    assert [str(row) for row in rows if row.stage == 0] == [
        "stage 0 PiM: map 64x64x64, window whole map, 1 sequence(s) of 262144 token(s)",
        "stage 0 PaM: map 64x64x64, window 4x4x4, 1 sequence(s) of 4096 token(s)",
    ]
    derived = LKMUNet(input_channels=1, num_classes=2, **arguments)
    assert all(row.window is not None for row in derived.plan_of_windows((64, 64, 64)))


def test_tokens_of_the_papers_ct_plan() -> None:
    arguments = unet_arguments((2.5, 0.8, 0.8), (40, 224, 192), base_features=1, max_features=1, n_conv=1)
    released = LKMUNet(input_channels=1, num_classes=2, **arguments, **RELEASED).plan_of_windows((40, 224, 192))
    pim = [(row.tokens, row.sequences) for row in released if row.layer == "PiM"]
    assert pim == [(128, 13440), (32, 13440), (32, 1680), (4, 1680), (4, 210), (1, 210)]
    assert [row.tokens for row in released if row.layer == "PaM"] == [26880, 6720, 6720, 840, 840, 210]
    paper = LKMUNet(input_channels=1, num_classes=2, **arguments).plan_of_windows((40, 224, 192))
    assert [row.tokens for row in paper if row.layer == "PiM"] == [13440, 13440, 1680, 1680, 210, 210]
    assert [row.tokens for row in paper if row.layer == "PaM"] == [128, 32, 32, 4, 4, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pim_partition": "dilated"}, "pim_partition is 'dilated', expected one of 'window', 'grid'"),
        ({"pam_pool": "max"}, "pam_pool is 'max', expected one of"),
        ({"windows": "auto"}, "windows is 'auto', expected 'derived', 'released'"),
        ({"windows": [[5, 5]]}, "expected 3 windows of 2 positive numbers"),
        ({"n_blocks_per_stage": [1, 1, 1]}, "give either n_conv_per_stage or n_blocks_per_stage"),
        ({"n_stages": 1}, "needs at least 2 stages"),
        ({"strides": [1, 2]}, "strides has 2 entries, expected 3"),
        ({"conv_op": nn.Conv1d}, "expected torch.nn.Conv2d or torch.nn.Conv3d"),
    ],
)
def test_wrong_arguments_get_one_clear_sentence(options: dict[str, Any], message: str) -> None:
    arguments = unet_arguments((1, 1), (16, 16), base_features=2, n_conv=1)
    with pytest.raises(ValueError, match=message):
        LKMUNet(input_channels=1, num_classes=2, **{**arguments, **options})


def test_wrong_sizes_get_one_clear_sentence() -> None:
    arguments = unet_arguments((1, 1), (32, 32), base_features=2, n_conv=1)
    network = LKMUNet(input_channels=1, num_classes=2, **arguments)
    with pytest.raises(ValueError, match=r"image has size \(30, 32\), but this network needs multiples of \(8, 8\)"):
        network(torch.zeros(1, 1, 30, 32))
    with pytest.raises(ValueError, match=r"patch size \(20, 32\) is not a multiple of \(8, 8\)"):
        network.check_patch_size((20, 32))
    with pytest.raises(ValueError, match="leaves one voxel at the bottleneck"):
        network.check_patch_size((8, 8))
    windows = LKMUNet(input_channels=1, num_classes=2, **arguments, windows=[[5, 5]] * arguments["n_stages"])
    with pytest.raises(ValueError, match=r"a window of \(5, 5\) does not divide a feature map of size \(32, 32\)"):
        windows.check_patch_size((32, 32))


@pytest.mark.parametrize("options", [{"bidirectional": False}, {"use_pim": False}, {"use_pam": False}], ids=str)
def test_every_ablation_trains_all_of_its_parameters(options: dict[str, Any]) -> None:
    arguments = unet_arguments((1, 1), (16, 24), base_features=4, n_conv=1)
    network = LKMUNet(input_channels=1, num_classes=2, **arguments, **options, deep_supervision=True)
    whole = LKMUNet(input_channels=1, num_classes=2, **arguments)
    assert len(network.state_dict()) < len(whole.state_dict())
    sum(output.square().sum() for output in network(torch.randn(1, 1, 16, 24))).backward()
    assert all(p.grad is not None for p in network.parameters())


def _kept_bytes(network: LKMUNet, image: torch.Tensor) -> int:
    """Bytes that a forward pass keeps for its backward pass, parameters aside."""
    parameters = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(image)
    return sum(kept.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_gradients_of_large_windows_are_finite_in_half_precision(dtype: torch.dtype) -> None:
    arguments = unet_arguments((1, 1), (64, 64), base_features=4, max_features=8, n_conv=1)
    pam = LKMUNet(input_channels=1, num_classes=2, **arguments, windows=[[64, 64]] * 5).encoder.mixers[0][1]
    x = torch.randn(1, 4, 64, 64).to(dtype).requires_grad_()
    pam(x).backward(torch.full_like(x, 100))  # whose sum over the window is beyond float16
    assert all(tensor.grad.isfinite().all() for tensor in (x, *pam.parameters()))


def test_recompute_changes_nothing_but_memory() -> None:
    arguments = unet_arguments((1, 1), (16, 24), base_features=4, n_conv=1)
    kept = LKMUNet(input_channels=1, num_classes=2, **arguments, recompute=False)
    recomputed = LKMUNet(input_channels=1, num_classes=2, **arguments, recompute=True)
    recomputed.load_state_dict(kept.state_dict())
    image = torch.randn(2, 1, 16, 24)
    gradients = []
    for network in (kept, recomputed):
        network(image).square().sum().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)
    patch = (16, 24)
    assert _kept_bytes(recomputed, image) < 0.6 * _kept_bytes(kept, image)
    assert recomputed.compute_conv_feature_map_size(patch) < kept.compute_conv_feature_map_size(patch)
