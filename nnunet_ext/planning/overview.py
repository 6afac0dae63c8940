"""What a plan means for a network, row by row, beside nnU-Net's own plan."""

from collections.abc import Iterator
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
    for name, ours in _resolved(planner.plans).items():
        theirs = _resolved(planner.stock_plans).get(name)
        yield _row(planner, name, ours, planner.plans_identifier)
        if theirs is not None:
            try:
                yield _row(planner, name, theirs, planner.stock_plans["plans_name"])
            except ValueError:
                continue


def table(planner: ExtPlanner) -> Table:
    """The rows as a table that fits 80 columns."""
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
    for row in rows(planner):
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


def stage_lines(planner: ExtPlanner) -> list[str]:
    """For each configuration that we planned, what the network does at each stage."""
    lines = []
    for row in rows(planner):
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


def _row(planner: ExtPlanner, name: str, configuration: dict[str, Any], plans: str) -> Row:
    estimator = planner.estimator
    if "previous_stage" in configuration:
        # The second stage of a cascade also sees the labels that the first one predicted.
        labels = estimator.channels + planner.foreground_labels
        estimator = Estimator(planner.trainer, labels, estimator.classes)
    patch, batch = tuple(int(side) for side in configuration["patch_size"]), int(configuration["batch_size"])
    architecture = configuration["architecture"]
    memory = estimator.memory(architecture, patch)
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
