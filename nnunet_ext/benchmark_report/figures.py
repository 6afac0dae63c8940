"""Box plots, critical-difference diagrams and learning curves."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from nnunet_ext.benchmark_report import statistics
from nnunet_ext.benchmark_report.context import label
from nnunet_ext.benchmark_report.results import Cell, Metric
from nnunet_ext.benchmark_report.statistics import Ranking
from nnunet_ext.benchmark_report.training import Training
from nnunet_ext.demo.trainers import STOCK

DPI = 110
STOCK_COLOUR = "#d1700a"
COLOUR = "#0b5fa5"
PANELS_IN_A_ROW = 4
EVERY_EPOCH = 200
"""Learning curves of more epochs are drawn through means, as their noise would hide them."""
POINTS = 100
"""Of such a curve, at most."""


def box_plots(cells: list[Cell], metric: Metric, target: Path) -> None:
    """One panel for each class: a box over the cases for each network, quartiles and 1.5 times their distance."""
    panels = min(PANELS_IN_A_ROW, len(metric.classes))
    lines = math.ceil(len(metric.classes) / panels)
    size = (2.6 + 2.6 * panels, lines * (0.75 + 0.3 * len(cells)))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, panels, squeeze=False, sharey=True)
    tables = [cell.table(metric) for cell in cells]
    places = range(len(cells), 0, -1)  # the first network on top
    for axes, name in zip(grid.flat, metric.classes, strict=False):
        values = [table[name][np.isfinite(table[name])].to_numpy(dtype=float) for table in tables]
        boxes = axes.boxplot(
            values, positions=list(places), orientation="horizontal", widths=0.6, patch_artist=True, manage_ticks=False,
            flierprops={"marker": ".", "markersize": 4}, medianprops={"color": "black"},
        )  # fmt: skip
        for box, cell in zip(boxes["boxes"], cells, strict=True):
            box.set(facecolor=STOCK_COLOUR if cell.trainer == STOCK else COLOUR, alpha=0.55)
        axes.set_yticks(list(places), [cell.trainer for cell in cells], fontsize=8)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel(label(metric), fontsize=8)
        _plain(axes)
    for axes in list(grid.flat)[len(metric.classes) :]:
        axes.set_axis_off()
    figure.savefig(target, dpi=DPI)


def critical_difference(ranking: Ranking, trainers: list[str], target: Path) -> None:
    """Mean ranks on a line, 1 the best; a bar joins networks that the critical difference does not part."""
    order = np.argsort(ranking.ranks, kind="stable")
    half = math.ceil(len(order) / 2)
    bars = statistics.groups(ranking.ranks, ranking.critical_difference)
    top, step = 1.0, 1.0
    first_label = -0.6 - 0.4 * len(bars)
    bottom = first_label - step * half
    figure = Figure(figsize=(9, 0.28 * (top + 2.2 - bottom)), layout="constrained")
    axes: Any = figure.subplots()
    axes.set(xlim=(0.2, len(order) + 0.8), ylim=(bottom, top + 2))
    axes.set_axis_off()
    axes.plot([1, len(order)], [0, 0], color="black", linewidth=1.2)
    for rank in range(1, len(order) + 1):
        axes.plot([rank, rank], [0, 0.25], color="black", linewidth=1.2)
        axes.text(rank, 0.4, str(rank), ha="center", va="bottom", fontsize=8)
    axes.plot([1, 1 + ranking.critical_difference], [top + 1, top + 1], color="black", linewidth=1.2)
    axes.text(1, top + 1.15, f"critical difference {ranking.critical_difference:.2f}", va="bottom", fontsize=8)
    for line, (start, end) in enumerate(bars):
        height = -0.4 - 0.4 * line
        axes.plot([start - 0.04, end + 0.04], [height, height], color="black", linewidth=3.5, solid_capstyle="butt")
    for place, index in enumerate(order):
        left = place < half
        height = first_label - step * (place if left else len(order) - 1 - place)
        end = 0.9 if left else len(order) + 0.1
        rank, trainer = ranking.ranks[index], trainers[index]
        colour = STOCK_COLOUR if trainer == STOCK else COLOUR
        axes.plot([rank, rank, end], [0, height, height], color=colour, linewidth=1)
        axes.annotate(
            f"{trainer} ({rank:.2f})", (end, height), xytext=(-4 if left else 4, 0), textcoords="offset points",
            ha="right" if left else "left", va="center", fontsize=8, color=colour, annotation_clip=False,
        )  # fmt: skip
    figure.savefig(target, dpi=DPI, bbox_inches="tight")


def learning_curves(cells: list[Cell], target: Path) -> bool:
    """Dice and loss on validation patches, one thin line for each fold; False if no log has an epoch."""
    drawn = [cell for cell in cells if any(training.epochs for training in cell.trainings.values())]
    if not drawn:
        return False
    figure = Figure(figsize=(11, 3.6 + 0.12 * len(drawn)), layout="constrained")
    dice, loss = figure.subplots(1, 2)
    colours = colormaps["tab10" if len(drawn) <= 10 else "tab20"]
    for number, cell in enumerate(drawn):
        colour = "black" if cell.trainer == STOCK else colours(number % colours.N)
        name: str | None = cell.trainer if cell.complete else f"{cell.trainer} ({cell.progress})"
        for training in cell.trainings.values():
            if not training.epochs:
                continue
            curve = _curve(training)
            style = {"color": colour, "marker": "." if len(curve) < 3 else "", "linewidth": 0.9, "alpha": 0.8}
            dice.plot(curve["epoch"], curve["dice"], label=name, **style)
            loss.plot(curve["epoch"], curve["loss"], **style)
            name = None  # one entry of the legend for all folds
    dice.set(xlabel="epoch", ylabel="Dice, validation patches", ylim=(0, 1))
    loss.set(xlabel="epoch", ylabel="loss, validation patches")
    for axes in (dice, loss):
        axes.xaxis.get_major_locator().set_params(integer=True)
        _plain(axes)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    figure.savefig(target, dpi=DPI)
    return True


def _curve(training: Training) -> pd.DataFrame:
    """The columns epoch, dice and loss."""
    rows = [(number + 1, epoch.pseudo_dice, epoch.validation_loss) for number, epoch in training.epochs.items()]
    curve = pd.DataFrame(rows, columns=["epoch", "dice", "loss"])
    if len(curve) <= EVERY_EPOCH:
        return curve
    return curve.groupby(np.arange(len(curve)) // math.ceil(len(curve) / POINTS)).mean()


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=8)
