"""The figures of nnU-Net's validation, as a model card shows them."""

import math
from collections.abc import Mapping
from typing import Any

Summary = dict[str, Any]


def without_cases(summary: Summary) -> Summary:
    """A summary.json of which only the means are left: cases have names, which can be a patient's."""
    return {key: value for key, value in summary.items() if key != "metric_per_case"}


def dice_table(summaries: Mapping[str, Summary], labels: Mapping[str, Any]) -> list[list[str]]:
    """Rows of a table, the header first: label, Dice in each fold, and their mean.

    Args:
        summaries: nnU-Net's summary.json by fold.
        labels: of the dataset.json: numbers, or lists of numbers for regions.
    """
    names = {str(tuple(value) if isinstance(value, list) else value): name for name, value in labels.items()}
    rows = [["Dice", *(f"fold {fold}" for fold in summaries), *(["mean"] if len(summaries) > 1 else [])]]
    keys = list(dict.fromkeys(key for summary in summaries.values() for key in summary.get("mean", {})))
    for key in keys:
        values = [_dice(summary.get("mean", {}).get(key)) for summary in summaries.values()]
        rows.append([names.get(key, key), *_shown(values)])
    means = [_dice(summary.get("foreground_mean")) for summary in summaries.values()]
    rows.append(["mean of the labels", *_shown(means)])
    rows.append(["cases", *(str(len(summary.get("metric_per_case", []))) for summary in summaries.values())])
    rows[-1] += [""] * (len(rows[0]) - len(rows[-1]))
    return rows


def _dice(means: Any) -> float:
    value = means.get("Dice") if isinstance(means, dict) else None
    return float(value) if isinstance(value, int | float) else math.nan


def _shown(values: list[float]) -> list[str]:
    if len(values) > 1:
        values = [*values, sum(values) / len(values)]
    return ["-" if math.isnan(value) else f"{value:.3f}" for value in values]
