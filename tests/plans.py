"""Plans for tests, with the topology that nnU-Net's own planner would choose."""

import random
from typing import Any

from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props
from torch import nn


def topology(spacing: tuple[float, ...], patch: tuple[int, ...]) -> tuple[list[Any], list[Any], tuple[int, ...]]:
    """(strides, kernel sizes, patch size padded to what the strides divide)."""
    _, strides, kernels, padded, _ = get_pool_and_conv_props(spacing, patch, 4, 999999)
    return list(strides), list(kernels), tuple(int(size) for size in padded)


def unet_arguments(
    spacing: tuple[float, ...],
    patch: tuple[int, ...],
    *,
    base_features: int = 32,
    max_features: int | None = None,
    n_conv: int = 2,
) -> dict[str, Any]:
    """The architecture arguments of nnU-Net's standard plan."""
    strides, kernels, _ = topology(spacing, patch)
    n_stages = len(strides)
    three_d = len(patch) == 3
    limit = max_features or (320 if three_d else 512)
    return {
        "n_stages": n_stages,
        "features_per_stage": [min(base_features * 2**stage, limit) for stage in range(n_stages)],
        "conv_op": nn.Conv3d if three_d else nn.Conv2d,
        "kernel_sizes": kernels,
        "strides": strides,
        "n_conv_per_stage": [n_conv] * n_stages,
        "n_conv_per_stage_decoder": [n_conv] * (n_stages - 1),
        "conv_bias": True,
        "norm_op": nn.InstanceNorm3d if three_d else nn.InstanceNorm2d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
    }


def random_plans(n: int, n_axes: int, largest: int, seed: int) -> list[tuple[tuple[float, ...], tuple[int, ...]]]:
    """(spacing, patch) of `n` plans: odd and anisotropic sizes, each at least 8 voxels wide on two axes."""
    draw = random.Random(seed)
    plans = []
    while len(plans) < n:
        spacing = tuple(round(draw.choice([1, 1, draw.uniform(0.5, 5)]), 2) for _ in range(n_axes))
        wanted = [draw.randint(8, largest) for _ in range(n_axes)]
        if n_axes == 3 and draw.random() < 0.3:
            wanted[0] = draw.randint(1, 8)
        strides, _, patch = topology(spacing, tuple(wanted))
        if len(strides) > 1:
            plans.append((spacing, patch))
    return plans
