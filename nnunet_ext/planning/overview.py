"""What a plan means for a network, row by row, beside nnU-Net's own plan."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from rich import box
from rich.table import Table

from nnunet_ext.planning.estimator import Estimator
from nnunet_ext.planning.memory import GIB
from nnunet_ext.planning.planner import ExtPlanner


@dataclass(frozen=True)
class Row:
    """One configuration of one plans file, trained by the planner's network."""

    configuration: str
    plans: str
    patch: tuple[int, ...]
    batch: int
    parameters: int
    training: float
    """Bytes on the GPU."""
    inference: float
    """Bytes on the GPU, for an image of the median size."""
    stages: tuple[str, ...]
    """Map, and windows where there are, of each stage."""


def rows(planner: ExtPlanner) -> Iterator[Row]:
    """The configurations of the plans that `planner` made, each followed by nnU-Net's own where it has it.

    nnU-Net's own is left out where the network cannot be trained with it.
    """
    first = planner.estimator
    # The second stage of a cascade also sees the labels that the first one predicted.
    second = Estimator(planner.trainer, first.channels + planner.foreground_labels, first.classes)
    all_theirs = _resolved(planner.stock_plans)
    for name, ours in _resolved(planner.plans).items():
        estimator = second if "previous_stage" in ours else first
        yield _row(estimator, name, ours, planner.plans_identifier)
        if name in all_theirs:
            try:
                yield _row(estimator, name, all_theirs[name], planner.stock_plans["plans_name"])
            except ValueError:
                continue


def table(planner: ExtPlanner, found: Sequence[Row]) -> Table:
    """The rows `found` as a table that fits 80 columns."""
    result = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=f"{planner.network} on {planner.dataset_name}, for {planner.UNet_vram_target_GB:g} GiB",
        caption="GiB of a GPU: estimates for fp16 autocast without torch.compile, inference of the median image.",
        caption_justify="left",
    )
    for heading in ("configuration", "plan", "patch"):
        result.add_column(heading, no_wrap=True)
    for heading in ("batch", "weights", "training", "inference"):
        result.add_column(heading, no_wrap=True, justify="right")
    for row in found:
        result.add_row(
            row.configuration,
            "this" if row.plans == planner.plans_identifier else "nnU-Net's",
            _times(row.patch),
            str(row.batch),
            f"{row.parameters / 1e6:.0f} M",
            f"{row.training / GIB:.1f}",
            f"{row.inference / GIB:.1f}",
        )
    return result


def stage_lines(planner: ExtPlanner, found: Sequence[Row]) -> list[str]:
    """For each configuration that we planned, what the network does at each stage."""
    lines = []
    for row in found:
        if row.plans == planner.plans_identifier:
            lines += [f"{row.configuration}, stages:", *(f"  {stage}" for stage in row.stages)]
    return lines


def _resolved(plans: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The configurations, with those that a cascade's second stage inherits."""
    configurations = plans["configurations"]
    return {
        name: configurations.get(configuration.get("inherits_from"), {}) | configuration
        for name, configuration in configurations.items()
    }


def _row(estimator: Estimator, name: str, configuration: dict[str, Any], plans: str) -> Row:
    patch, batch = tuple(int(side) for side in configuration["patch_size"]), int(configuration["batch_size"])
    architecture = configuration["architecture"]
    memory = estimator.memory(architecture, patch, batch)
    image = [round(side) for side in configuration["median_image_size_in_voxels"]]
    return Row(
        name,
        plans,
        patch,
        batch,
        memory.parameters,
        memory.training(batch, patch),
        estimator.inference(architecture, patch, image),
        tuple(_stages(estimator.network(architecture), patch)),
    )


def _stages(network: Any, patch: tuple[int, ...]) -> list[str]:
    if hasattr(network, "plan_of_windows") and (windows := network.plan_of_windows(patch)):
        return [str(row) for row in windows]
    sizes = network.stage_sizes(patch)
    return [f"stage {i}: map {_times(size)}, {prod(size)} voxels" for i, size in enumerate(sizes)]


def _times(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))
