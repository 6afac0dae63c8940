"""Best, median and worst case of a network: image, reference and prediction."""

import os
from pathlib import Path
from typing import Any

from nnunet_ext.benchmark_report.results import Cell, DataSetResults, Metric
from nnunet_ext.demo import figures
from nnunet_ext.demo.report import value_names
from nnunet_ext.demo.trainers import STOCK
from nnunet_ext.evaluation.labels import foreground


def draw(results: DataSetResults, cell: Cell, metric: Metric, target: Path) -> str | None:
    """Draw one line of pictures for each of the three cases; returns why not, in a clause, or None if it is done."""
    raw = os.environ.get("nnUNet_raw")
    if not raw:
        return "nnUNet_raw is not set"
    cases = chosen(cell, metric)
    stock = results.cells.get(STOCK)
    beside = stock if stock is not None and stock.complete and cell.trainer != STOCK else None
    rows = [
        _row(Path(raw) / results.data.name, results.description, fold, case, title, cell, beside, metric)
        for title, (fold, case) in cases.items()
    ]
    absent = [path for row in rows for path in (row.image, *row.labels.values()) if not path.is_file()]
    if absent:
        return f"{absent[0]} is not there"
    names = value_names(foreground(results.description["labels"]))
    credit = ", ".join(
        str(results.description[key]) for key in ("reference", "licence", "license") if results.description.get(key)
    )
    try:
        figures.overlays(rows, names, credit, target, figures.most_disagreement)
    except RuntimeError as error:  # SimpleITK's
        return str(error).strip().splitlines()[-1]
    return None


def chosen(cell: Cell, metric: Metric) -> dict[str, tuple[int, str]]:
    """Best, median and worst case (fold, case) by the mean over classes; fewer if there are fewer cases."""
    means = cell.case_means(metric).dropna().sort_index(level="case").sort_values(kind="stable")
    if not metric.higher_is_better:
        means = means[::-1]
    keys = [(int(fold), str(case)) for fold, case in means.index]  # the worst first
    if not keys:
        return {}
    found = {"best": keys[-1], "median": keys[(len(keys) - 1) // 2], "worst": keys[0]}
    return {title: key for title, key in found.items() if list(found.values()).index(key) == list(found).index(title)}


def _row(
    raw: Path,
    description: dict[str, Any],
    fold: int,
    case: str,
    title: str,
    cell: Cell,
    beside: Cell | None,
    metric: Metric,
) -> figures.Row:
    ending = str(description.get("file_ending", ".nii.gz"))
    cells = [cell] if beside is None else [beside, cell]
    labels = {"reference": raw / "labelsTr" / f"{case}{ending}"}
    labels |= {one.trainer: one.folder / f"fold_{fold}" / "validation" / f"{case}{ending}" for one in cells}
    return figures.Row(
        case=f"{title}: {case}",
        image=raw / "imagesTr" / f"{case}_0000{ending}",
        labels=labels,
        dice={one.trainer: float(one.case_means(metric)[fold, case]) for one in cells if metric.is_dice},
    )
