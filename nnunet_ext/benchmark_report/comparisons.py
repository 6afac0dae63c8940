"""The tables that compare networks with nnU-Net's own, and the ranking of all."""

from typing import Any

import numpy as np
import pandas as pd

from nnunet_ext.benchmark_report import statistics
from nnunet_ext.benchmark_report.context import Context, decimals, label
from nnunet_ext.benchmark_report.document import Column, Table, Value, fixed, p_value
from nnunet_ext.benchmark_report.results import Cell, DataSetResults, Metric
from nnunet_ext.benchmark_report.statistics import Comparison, Ranking, Values
from nnunet_ext.demo.trainers import STOCK


def rivals(results: DataSetResults) -> list[Cell]:
    """The complete networks beside nnU-Net's own; none if nnU-Net's is not complete."""
    complete = results.complete
    if STOCK not in [cell.trainer for cell in complete]:
        return []
    return [cell for cell in complete if cell.trainer != STOCK]


def against_nnunet(context: Context, metric: Metric) -> Table | None:
    """Every complete network against nnU-Net, paired over cases; None if there is nothing to compare."""
    found = {
        cell.trainer: comparison
        for cell in rivals(context.results)
        if (comparison := _compare(cell.case_means(metric), context.results.cells[STOCK].case_means(metric)))
    }
    if not found:
        return None
    corrected = _corrected(found)
    rows: list[list[Value]] = [
        [
            trainer,
            comparison.cases,
            comparison.difference,
            *(comparison.interval or (None, None)),
            comparison.effect,
            comparison.p,
            corrected[trainer],
        ]
        for trainer, comparison in found.items()
    ]
    signed = fixed(decimals([comparison.difference for comparison in found.values()]), sign=True)
    return Table(
        name=context.name("against_nnunet", metric.name),
        caption=context.caption(
            f"{label(metric)}, difference to nnU-Net's own network ({STOCK}), paired over cases: mean, its bootstrap "
            f"95 % interval ({statistics.RESAMPLES} resamples of the cases, seed {statistics.SEED}), the matched-pairs "
            "rank-biserial correlation as effect size (-1 to 1, positive where the network has more), and the "
            f"two-sided Wilcoxon signed-rank test, with Holm's correction for the {len(found)} networks of this table."
        ),
        columns=[
            Column("network"),
            Column("cases"),
            Column("difference", signed),
            Column("95 % from", signed),
            Column("to", signed),
            Column("effect size", fixed(2, sign=True)),
            Column("p", p_value),
            Column("p, Holm", p_value),
        ],
        rows=rows,
    )


def classes_against_nnunet(context: Context, metric: Metric) -> Table | None:
    """The mean difference to nnU-Net on every class, with a star where Holm's correction leaves p below 5 %."""
    cells = rivals(context.results)
    if not cells or len(metric.classes) < 2:
        return None
    reference = context.results.cells[STOCK].table(metric)
    tables = {cell.trainer: cell.table(metric) for cell in cells}
    found = {
        (trainer, name): comparison
        for trainer, table in tables.items()
        for name in metric.classes
        if (comparison := _compare(table[name], reference[name]))
    }
    corrected = _corrected(found)
    signed = fixed(decimals([comparison.difference for comparison in found.values()]), sign=True)

    def text(trainer: str, name: str) -> str | None:
        if (trainer, name) not in found:
            return None
        star = "*" if corrected[trainer, name] < statistics.LEVEL else ""
        return signed(found[trainer, name].difference) + star

    return Table(
        name=context.name("classes_against_nnunet", metric.name),
        caption=context.caption(
            f"{label(metric)}, mean difference to nnU-Net's own network on every class, over the cases where both have "
            f"a value. *: p < {statistics.LEVEL} in the Wilcoxon signed-rank test, with Holm's correction for all "
            f"{len(found)} differences of this table."
        ),
        columns=[Column("network"), *(Column(name) for name in metric.classes)],
        rows=[[trainer, *(text(trainer, name) for name in metric.classes)] for trainer in tables],
    )


def ranking(results: DataSetResults, metric: Metric) -> Ranking | None:
    """Friedman's test over the cases of all complete networks, in their order; None if it does not exist."""
    means = [cell.case_means(metric) for cell in results.complete]
    if not means:
        return None
    return statistics.friedman(pd.concat(means, axis=1).to_numpy(dtype=float), metric.higher_is_better)


def too_few(table: Table) -> str | None:
    """A sentence where so few cases were compared that no test could find anything; None where there are enough."""
    cases = int(min(float(row[1]) for row in table.rows if row[1] is not None))
    if 2.0 ** (1 - cases) < statistics.LEVEL:
        return None
    return (
        f"With {cases} {'case' if cases == 1 else 'cases'} the smallest p value that the Wilcoxon test can reach is "
        f"{2.0 ** (1 - cases):.3g}: it cannot show a difference here, whatever its size."
    )


def _compare(values: "pd.Series[float]", reference: "pd.Series[float]") -> Comparison | None:
    values, reference = values.align(reference, join="inner")
    return statistics.compare(_array(values), _array(reference))


def _array(values: "pd.Series[float]") -> Values:
    return np.asarray(values, dtype=np.float64)


def _corrected(found: dict[Any, Comparison]) -> dict[Any, float]:
    return dict(zip(found, statistics.holm([comparison.p for comparison in found.values()]), strict=True))
