"""Plans for tests, with the topology that nnU-Net's own planner would choose."""

import random
from types import SimpleNamespace
from typing import Any

import torch
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
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
    """(spacing, patch) of `n` plans, odd and anisotropic, small ones more often; some have one stage, no pooling."""
    draw = random.Random(seed)
    plans = []
    for _ in range(n):
        spacing = tuple(round(draw.choice([1, 1, draw.uniform(0.5, 5)]), 2) for _ in range(n_axes))
        wanted = [round(8 * (largest / 8) ** draw.random()) for _ in range(n_axes)]
        if n_axes == 3 and draw.random() < 0.3:
            wanted[0] = draw.randint(1, 8)
        plans.append((spacing, topology(spacing, tuple(wanted))[2]))
    return plans


def sizes_under_supervision(strides: list[Any], patch: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The sizes of the targets that nnU-Net's trainer makes for deep supervision."""
    configuration = SimpleNamespace(pool_op_kernel_sizes=strides)
    trainer = SimpleNamespace(enable_deep_supervision=True, configuration_manager=configuration)
    scales = nnUNetTrainer._get_deep_supervision_scales(trainer)
    targets = DownsampleSegForDSTransform(scales)(segmentation=torch.zeros(1, *patch))["segmentation"]
    return [tuple(target.shape[1:]) for target in targets]
