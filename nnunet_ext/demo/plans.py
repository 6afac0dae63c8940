"""A small plan for machines without a CUDA device, made from the plan that nnU-Net wrote.

Both networks train with it, so the comparison stays one of equals. It differs from nnU-Net's plan in patch size, batch
size, number of stages and features; spacing, normalisation and preprocessed files stay the same.
"""

import json
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from nnunet_ext.files import write_text

STOCK = "nnUNetPlans"
SMALL = "nnUNetDemoPlans"
MINIMUM_EDGE = 4
"""Smallest edge of the deepest feature map, in voxels; nnU-Net's own value."""


@dataclass(frozen=True)
class Size:
    """Upper bounds of a small plan."""

    patch_voxels: int
    batch: int
    poolings: int
    """Along each axis; anisotropic images get more stages than that."""
    first_features: int
    last_features: int


SIZES = {2: Size(128**2, 8, 4, 16, 128), 3: Size(32**3, 2, 3, 16, 128)}
"""By the number of image dimensions."""


def write_small(folder: Path, configuration: str) -> None:
    """Write `nnUNetDemoPlans.json` beside the `nnUNetPlans.json` in `folder` (the preprocessed dataset)."""
    plans = json.loads((folder / f"{STOCK}.json").read_text())
    write_text(folder / f"{SMALL}.json", json.dumps(reduce(plans, configuration), indent=4))


def reduce(plans: dict[str, Any], configuration: str) -> dict[str, Any]:
    """A copy of `plans` with only `configuration`, made small."""
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    small = deepcopy(plans)
    small["plans_name"] = SMALL
    chosen = small["configurations"][configuration]
    small["configurations"] = {configuration: chosen}
    size = SIZES[len(chosen["spacing"])]

    patch = [int(edge) for edge in chosen["patch_size"]]
    while True:
        _, strides, kernels, padded, divisors = get_pool_and_conv_props(
            chosen["spacing"], patch, MINIMUM_EDGE, size.poolings
        )
        patch = [int(edge) for edge in padded]
        if prod(patch) <= size.patch_voxels:
            break
        longest = patch.index(max(patch))
        patch[longest] -= int(divisors[longest])

    stages = len(strides)
    chosen["patch_size"] = patch
    chosen["batch_size"] = min(int(chosen["batch_size"]), size.batch)
    network = chosen["architecture"]["arch_kwargs"]
    network["n_stages"] = stages
    network["strides"] = [list(stride) for stride in strides]
    network["kernel_sizes"] = [list(kernel) for kernel in kernels]
    network["features_per_stage"] = [min(size.first_features * 2**i, size.last_features) for i in range(stages)]
    network["n_conv_per_stage"] = network["n_conv_per_stage"][:1] * stages
    network["n_conv_per_stage_decoder"] = network["n_conv_per_stage_decoder"][:1] * (stages - 1)
    return small
