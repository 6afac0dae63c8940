"""The figures of nnU-Net's validation, as a model card shows them."""

import math
from collections.abc import Mapping
from typing import Any

Summary = dict[str, Any]

NUMBER = "number_of_cases"
"""Our entry of an exported summary.json, in place of the cases."""


def without_cases(summary: Summary) -> Summary:
    """A summary.json of which only the means and the number of cases are left: names can be a patient's."""
    kept = {key: value for key, value in summary.items() if key != "metric_per_case"}
    number = _number_of_cases(summary)
    return kept if number is None else kept | {NUMBER: number}


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
    numbers = [_number_of_cases(summary) for summary in summaries.values()]
    if any(number is not None for number in numbers):
        rows.append(["cases", *("-" if number is None else str(number) for number in numbers)])
        rows[-1] += [""] * (len(rows[0]) - len(rows[-1]))
    return rows


def _number_of_cases(summary: Summary) -> int | None:
    """None of a summary that lost its cases on the way."""
    cases = summary.get("metric_per_case")
    number = len(cases) if isinstance(cases, list) else summary.get(NUMBER)
    return number if isinstance(number, int) else None


def _dice(means: Any) -> float:
    value = means.get("Dice") if isinstance(means, dict) else None
    return float(value) if isinstance(value, int | float) else math.nan


def _shown(values: list[float]) -> list[str]:
    if len(values) > 1:
        values = [*values, sum(values) / len(values)]
    return ["-" if math.isnan(value) else f"{value:.3f}" for value in values]
