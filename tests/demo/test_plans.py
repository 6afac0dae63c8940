"""The small plan: within its bounds, consistent, and otherwise nnU-Net's."""

import json
from math import prod
from pathlib import Path
from typing import Any

import pytest

from nnunet_ext.demo import plans


def _plan(patch: list[int], spacing: list[float], batch: int = 12, stages: int = 6) -> dict[str, Any]:
    dimensions = len(patch)
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "batch_size": batch,
        "patch_size": patch,
        "spacing": spacing,
        "normalization_schemes": ["ZScoreNormalization"],
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": [min(32 * 2**i, 320) for i in range(stages)],
                "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
                "kernel_sizes": [[3] * dimensions] * stages,
                "strides": [[1] * dimensions] + [[2] * dimensions] * (stages - 1),
                "n_conv_per_stage": [2] * stages,
                "n_conv_per_stage_decoder": [2] * (stages - 1),
            },
            "_kw_requires_import": ["conv_op"],
        },
    }
    name = "3d_fullres" if dimensions == 3 else "2d"
    return {"plans_name": "nnUNetPlans", "configurations": {name: configuration, "other": {}}}


@pytest.mark.parametrize(
    ("patch", "spacing"),
    [
        ([128, 128, 128], [1.0, 1.0, 1.0]),
        ([20, 320, 256], [5.0, 0.6, 0.6]),
        ([40, 56, 40], [1.0, 1.0, 1.0]),
        ([8, 8, 8], [1.0, 1.0, 1.0]),
        ([512, 512], [0.5, 0.5]),
        ([40, 640], [1.0, 1.0]),
    ],
)
def test_small_plan_is_small_and_consistent(patch: list[int], spacing: list[float]) -> None:
    name = "3d_fullres" if len(patch) == 3 else "2d"
    full = _plan(patch, spacing)
    small = plans.reduce(full, name)
    assert list(small["configurations"]) == [name]
    assert small["plans_name"] == plans.SMALL
    chosen, size = small["configurations"][name], plans.SIZES[len(patch)]
    assert prod(chosen["patch_size"]) <= size.patch_voxels
    assert chosen["batch_size"] <= size.batch
    # nnU-Net finds the preprocessed cases by this name.
    assert chosen["data_identifier"] == "nnUNetPlans_3d_fullres"
    network = chosen["architecture"]["arch_kwargs"]
    stages = network["n_stages"]
    for axis in range(len(patch)):
        assert prod(stride[axis] for stride in network["strides"]) <= 2**size.poolings
    for key in ("features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage"):
        assert len(network[key]) == stages
    assert len(network["n_conv_per_stage_decoder"]) == stages - 1
    for axis, edge in enumerate(chosen["patch_size"]):
        assert edge % prod(stride[axis] for stride in network["strides"]) == 0


def test_plan_given_is_not_changed() -> None:
    full = _plan([128, 128, 128], [1.0, 1.0, 1.0])
    before = json.dumps(full)
    plans.reduce(full, "3d_fullres")
    assert json.dumps(full) == before


def test_small_plan_is_written_beside_the_stock_plan(tmp_path: Path) -> None:
    (tmp_path / "nnUNetPlans.json").write_text(json.dumps(_plan([64, 64, 64], [1.0, 1.0, 1.0])))
    plans.write_small(tmp_path, "3d_fullres")
    assert json.loads((tmp_path / "nnUNetDemoPlans.json").read_text())["plans_name"] == plans.SMALL
    assert not list(tmp_path.glob("*.part"))
