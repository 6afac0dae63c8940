"""Estimates against what real steps on the CPU keep, and what they promise for GPUs."""

from math import prod
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from nnunet_ext.architectures import LKMUNet
from nnunet_ext.blocks import recompute
from nnunet_ext.planning.estimator import Estimator
from nnunet_ext.planning.memory import CONTEXT, GIB, Extra, Law, Memory, trace
from nnunet_ext.planning.planner import PLANNERS
from nnunet_ext.planning.training_step import Batch, run_step
from tests.planning.plans_of import architecture, padded

SMALL = {"base_features": 8, "max_features": 32}

# (spacing, patch that is traced, patch and batch that are measured); the two patches have one topology
PLANS: dict[str, tuple[tuple[float, ...], tuple[int, ...], tuple[int, ...], int]] = {
    "2d": ((1, 1), (96, 96), (96, 64), 3),
    "3d": ((1, 1, 1), (32, 32, 32), (32, 24, 16), 3),
    "anisotropic": ((4, 1, 1), (12, 64, 64), (10, 48, 64), 2),
}


def _on_cpu(network: str, arch: dict[str, Any], images: int, patch: tuple[int, ...]) -> tuple[Estimator, Batch]:
    estimator = Estimator(PLANNERS[network].trainer, channels=1, classes=3)
    return estimator, Batch(images, 1, patch, estimator.scales(arch))


# Sizes S and B of MLLA-UNet are the same code with more blocks, and anisotropic plans concern windows and blocks.
CASES = [(name, plan) for name in PLANNERS for plan in ("2d", "3d") if name not in ("mlla_unet_s", "mlla_unet_b")]
CASES += [("lkm_unet", "anisotropic"), ("mixed_mlp_unet", "anisotropic")]


@pytest.mark.parametrize(("network", "plan"), CASES)
def test_estimates_what_a_step_on_the_cpu_keeps(network: str, plan: str) -> None:
    spacing, traced, measured, images = PLANS[plan]
    arch = architecture(spacing, traced, **SMALL)
    estimator, batch = _on_cpu(network, arch, 2, padded(spacing, traced))
    memory = trace(lambda: estimator.build(arch), batch, "cpu")

    _, batch = _on_cpu(network, arch, images, measured)
    torch.manual_seed(0)
    real = estimator.build(arch)
    kept, peak = run_step(
        real, torch.randn(batch.tensors("cpu")[0].shape), [t.zero_() for t in batch.tensors("cpu")[1]]
    )
    assert memory.kept.bytes(images, measured) == pytest.approx(kept, rel=0.2)
    assert memory.training(images, measured) > 8 * memory.parameters + peak


@pytest.mark.parametrize("network", ["mlla_unet", "mixed_mlp_unet", "u_mamba_bot", "lkm_unet_no_mamba"])
def test_agrees_with_saved_tensor_hooks(network: str) -> None:
    """What autograd says that it saves, another way of counting, where nothing is recomputed."""
    spacing, traced, _, _ = PLANS["2d"]
    arch = architecture(spacing, traced, **SMALL)
    estimator, batch = _on_cpu(network, arch, 2, padded(spacing, traced))
    memory = trace(lambda: estimator.build(arch), batch, "cpu")
    net = estimator.build(arch)
    weights = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    image, _ = batch.tensors("cpu")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = net(image.normal_())
        loss = sum(
            out.float().softmax(1).square().mean() for out in (outputs if isinstance(outputs, list) else [outputs])
        )
    del loss
    assert memory.kept.bytes(2, batch.patch) == pytest.approx(sum(saved.values()), rel=0.2)


@pytest.mark.parametrize(("spacing", "patch"), [((3, 1, 1), (40, 224, 192)), ((1, 1, 1), (128, 128, 128))])
def test_lkm_unet_in_3d_trains_in_24_gib(spacing: tuple[float, ...], patch: tuple[int, ...]) -> None:
    estimator = Estimator(PLANNERS["lkm_unet"].trainer, channels=1, classes=14)
    memory = estimator.memory(architecture(spacing, patch), patch, 2)
    assert 5 * GIB < memory.training(2, patch) < 24 * GIB
    everything_kept = trace(
        lambda: get_network_from_plans(
            "nnunet_ext.architectures.LKMUNet",
            {**architecture(spacing, patch)["arch_kwargs"], "recompute": False},
            ("conv_op", "norm_op", "dropout_op", "nonlin"),
            1,
            14,
            deep_supervision=True,
        ),
        Batch(2, 1, patch, estimator.scales(architecture(spacing, patch))),
    )
    assert everything_kept.training(2, patch) > 24 * GIB  # what recomputation saves


def test_a_smaller_patch_may_take_more_in_the_backward_pass() -> None:
    """Why a plan is traced with its own patch."""
    estimator = Estimator(PLANNERS["lkm_unet"].trainer, channels=1, classes=3)
    arch = architecture((1, 1, 1), (64, 64, 64))
    small, large = (estimator.memory(arch, patch, 2) for patch in ((64, 96, 96), (112, 112, 112)))
    assert small.extra.seen > 2 * large.extra.seen
    assert small.kept == large.kept


def test_recomputing_in_parts_changes_nothing_but_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    patch = (16, 16, 16)
    arguments = architecture((1, 1, 1), patch, **SMALL)["arch_kwargs"]
    torch.manual_seed(0)
    network: nn.Module = get_network_from_plans(
        "nnunet_ext.architectures.LKMUNet",
        arguments,
        ("conv_op", "norm_op", "dropout_op", "nonlin"),
        1,
        2,
        deep_supervision=False,
    )
    assert isinstance(network, LKMUNet)
    image, target = torch.randn(2, 1, *patch), torch.ones(2, 1, *patch, dtype=torch.int16)
    results = []
    for most in (2**25, 2**13):
        monkeypatch.setattr(recompute, "MOST_VALUES", most)
        network.zero_grad()
        step = run_step(network, image, [target])
        results.append((step, network(image), [parameter.grad for parameter in network.parameters()]))
    (whole, whole_out, whole_grads), (parts, parts_out, parts_grads) = results
    torch.testing.assert_close(parts_out, whole_out)
    torch.testing.assert_close(parts_grads, whole_grads, rtol=1e-4, atol=1e-6)
    assert parts.peak - parts.kept < 0.6 * (whole.peak - whole.kept)


def test_half_precision_and_fewer_states_make_a_gpu_need_less_than_the_cpu() -> None:
    spacing, patch, _, _ = PLANS["3d"]
    arch = architecture(spacing, patch, **SMALL)
    estimator, batch = _on_cpu("lkm_unet", arch, 2, padded(spacing, patch))
    build = lambda: estimator.build(arch)  # noqa: E731
    assert trace(build, batch, "cuda").kept.per_voxel < 0.75 * trace(build, batch, "cpu").kept.per_voxel


@settings(deadline=None, derandomize=True)
@given(
    parameters=st.integers(1, 10**9),
    per_voxel=st.floats(1, 1e4),
    seen=st.integers(0, 10**10),
    side=st.integers(1, 300),
    limit=st.floats(0.1, 100),
)
def test_the_largest_batch_fits_and_the_next_does_not(
    parameters: int, per_voxel: float, seen: int, side: int, limit: float
) -> None:
    memory = Memory(parameters, 1, Law(2 * parameters, per_voxel), Extra(10**6, seen))
    patch = (side, side, side)
    images = memory.most_images(patch, limit * GIB)
    assert images == 0 or memory.training(images, patch) <= limit * GIB
    assert memory.training(images + 1, patch) > limit * GIB
    assert memory.training(1, patch) > CONTEXT + 4 * (2 * parameters + prod(patch))
