"""Plans for the geometries of the benchmarks, and for geometries that nobody would expect."""

import dataclasses
import json
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.planning import estimator
from nnunet_ext.planning.memory import GIB, Extra, Law, Memory
from nnunet_ext.planning.networks import NETWORKS
from nnunet_ext.planning.planner import PLANNERS, ExtPlanner
from tests.planning import datasets

TARGETS = (8, 11, 24, 40, 80)

# Each network once, the variants on a dataset with few topologies; benchmarks/planning plans more.
DATASETS = {
    "lkm_unet": "flare22",
    "lkm_unet_released": "hippocampus",
    "lkm_unet_no_mamba": "hippocampus",
    "mlla_unet": "refuge2",
    "mlla_unet_s": "hippocampus",
    "mlla_unet_b": "hippocampus",
    "meta_mamba_unet": "acdc",
    "meta_mamba_unet_no_mamba": "hippocampus",
    "mixed_mlp_unet": "amos22_mr",
    "u_mamba_bot": "hippocampus",
}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    raw, preprocessed = tmp_path / "raw", tmp_path / "preprocessed"
    monkeypatch.setenv("nnUNet_raw", str(raw))
    monkeypatch.setenv("nnUNet_preprocessed", str(preprocessed))
    return raw, preprocessed


def check(planner: ExtPlanner, target: float) -> None:
    """What every plan promises."""
    manager = PlansManager(str(planner.plans_file))
    for name in manager.available_configurations:
        configuration = manager.get_configuration(name)
        patch, batch = configuration.patch_size, configuration.batch_size
        architecture = configuration.configuration["architecture"]
        network = planner.estimator.network(architecture)
        network.check_patch_size(patch)
        strides = np.prod(configuration.pool_op_kernel_sizes, axis=0)
        assert all(side % step == 0 for side, step in zip(patch, strides, strict=True)), (name, patch, strides)
        assert batch >= 2
        used = planner.estimator.memory(architecture, patch, batch).training(batch, patch) / GIB
        assert used <= target, (name, patch, batch)
        image = configuration.configuration["median_image_size_in_voxels"]
        covered = all(side >= size for side, size in zip(patch, image, strict=True))
        assert used >= 0.8 * target or covered, (name, patch, batch, used)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_target_is_used_and_kept(network: str, folders: tuple[Path, Path]) -> None:
    name = datasets.write(datasets.load(DATASETS[network]), *folders)
    largest, shared = 0, None
    for target in TARGETS:
        planner = PLANNERS[network](name, target)
        # The topologies of smaller targets come again.
        shared = planner.estimator = shared or planner.estimator
        planner.plan_experiment()
        check(planner, target)
        plan = max(planner.plans["configurations"].values(), key=lambda c: len(c.get("patch_size", ())))
        voxels = prod(plan["patch_size"]) * plan["batch_size"]
        assert voxels >= largest
        largest = voxels


def _no_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers in place of steps: the search is what is tested."""
    extra = Extra(10**6, 10**7)
    monkeypatch.setattr(
        estimator, "trace_forward", lambda _, batch: Memory(30_000_000, batch.channels, Law(6e7, 1500.0), Extra(1, 0))
    )
    monkeypatch.setattr(estimator, "add_backward", lambda least, *_: dataclasses.replace(least, extra=extra))


spacings = st.floats(0.2, 10)
shapes = st.integers(1, 700)


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    data=st.data(),
    network=st.sampled_from(["lkm_unet", "mlla_unet", "mixed_mlp_unet"]),
    target=st.sampled_from(TARGETS),
    cases=st.integers(1, 300),
)
def test_no_fingerprint_is_too_strange(
    data: st.DataObject,
    network: str,
    target: float,
    cases: int,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    three_d = data.draw(st.booleans())
    images = [
        ([data.draw(spacings), in_plane, in_plane], [data.draw(shapes), data.draw(shapes), data.draw(shapes)])
        if three_d
        else ([999, 1, 1], [1, data.draw(shapes), data.draw(shapes)])
        for in_plane in data.draw(st.lists(spacings, min_size=1, max_size=4))
    ]
    described = datasets.load("flare22")
    described["dataset"]["numTraining"] = cases
    described["fingerprint"] |= {"spacings": [s for s, _ in images], "shapes_after_crop": [s for _, s in images]}
    folder = tmp_path_factory.mktemp("planned")
    monkeypatch.setenv("nnUNet_raw", str(folder / "raw"))
    monkeypatch.setenv("nnUNet_preprocessed", str(folder / "preprocessed"))
    _no_steps(monkeypatch)
    planner = PLANNERS[network](datasets.write(described, folder / "raw", folder / "preprocessed"), target)
    planner.plan_experiment()
    check(planner, target)


def test_a_target_too_small_names_the_memory_that_would_do(folders: tuple[Path, Path]) -> None:
    name = datasets.write(datasets.load("hippocampus"), *folders)
    with pytest.raises(ValueError, match=r"0.9 GiB is too small for u_mamba_bot: .* take [\d.]+ GiB") as told:
        PLANNERS["u_mamba_bot"](name, 0.9).plan_experiment()
    enough = float(str(told.value).split(" take ")[1].split()[0])
    assert not (folders[1] / name / "nnUNetUMambaBotPlans_0.9G.json").exists()
    planner = PLANNERS["u_mamba_bot"](name, enough)
    planner.plan_experiment()
    check(planner, enough)


def test_channels_under_their_older_name(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    described = datasets.load("hippocampus")
    described["dataset"]["modality"] = described["dataset"].pop("channel_names")
    _no_steps(monkeypatch)
    planner = PLANNERS["mlla_unet"](datasets.write(described, *folders), 8)
    planner.plan_experiment()
    assert planner.estimator.channels == 1
    check(planner, 8)


def test_images_preprocessed_for_nnunets_plans_are_shared_where_they_are_the_same(folders: tuple[Path, Path]) -> None:
    name = datasets.write(datasets.load("amos22_ct"), *folders)
    planner = PLANNERS["u_mamba_bot"](name, 24)
    planner.plan_experiment()
    configurations = planner.plans["configurations"]
    stock = planner.stock_plans["configurations"]
    assert configurations["3d_fullres"]["data_identifier"] == stock["3d_fullres"]["data_identifier"]
    assert configurations["2d"]["data_identifier"] == "nnUNetPlans_2d"
    # Another patch gives another low resolution.
    assert configurations["3d_lowres"]["data_identifier"] == "nnUNetUMambaBotPlans_24G_3d_lowres"
    assert configurations["3d_cascade_fullres"] == {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}

    changed = json.loads(json.dumps(planner.stock_plans, default=lambda value: value.tolist()))
    changed["configurations"]["3d_fullres"]["spacing"] = [3, 1, 1]
    (folders[1] / name / "nnUNetPlans.json").write_text(json.dumps(changed))
    planner = PLANNERS["u_mamba_bot"](name, 24)
    planner.plan_experiment()
    own = planner.plans["configurations"]["3d_fullres"]["data_identifier"]
    assert own == "nnUNetUMambaBotPlans_24G_3d_fullres"
