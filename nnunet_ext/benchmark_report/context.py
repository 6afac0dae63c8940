"""What the captions and names of all tables and figures of one data set share."""

from dataclasses import dataclass

import numpy as np

from nnunet_ext.benchmark.matrix import Budget
from nnunet_ext.benchmark_report.document import Best
from nnunet_ext.benchmark_report.results import DataSetResults, Metric

PLAIN = ("", "1", "fraction")
"""Units of plain numbers."""


@dataclass(frozen=True)
class Context:
    """One data set of the matrix, and the budget that stands in every caption."""

    results: DataSetResults
    budget: Budget

    @property
    def title(self) -> str:
        """Data set, configuration and plan."""
        data = self.results.data
        return f"{data.name}, {data.configuration}, {data.plans}"

    def caption(self, text: str) -> str:
        """The caption of one table or figure."""
        return f"{self.title}, {self.budget.title}: {text}"

    def name(self, *parts: str) -> str:
        """A file name without an ending."""
        data = self.results.data
        words = "_".join((data.name, data.configuration, data.plans, *parts))
        return "".join(letter if letter.isalnum() or letter in "_-" else "-" for letter in words)


def label(metric: Metric) -> str:
    """Name, unit and direction of a metric."""
    unit = "" if metric.unit in PLAIN else f"{metric.unit}, "
    return f"{metric.name} ({unit}{'higher' if metric.higher_is_better else 'lower'} is better)"


def direction(metric: Metric) -> Best:
    """Which number of a column is the best."""
    return "highest" if metric.higher_is_better else "lowest"


def decimals(values: list[float]) -> int:
    """Three for fractions, two for per cent, millimetres and voxels."""
    return 3 if max((abs(value) for value in values if np.isfinite(value)), default=0.0) <= 1 else 2
