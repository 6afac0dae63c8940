"""The tables of what papers and independent work reported, with our numbers in a column of their own."""

from nnunet_ext.benchmark.matrix import Budget
from nnunet_ext.benchmark_report.context import PLAIN, Context
from nnunet_ext.benchmark_report.document import Column, Table, Value
from nnunet_ext.benchmark_report.published import Published, Report
from nnunet_ext.benchmark_report.results import DICE, DataSetResults, Metric

COLUMNS = [
    Column("reported"),
    Column("metric"),
    Column("by", words=2),
    Column("protocol", words=3),
    Column("source", words=3),
    Column("how known", words=3),
]


def on_this_benchmark(context: Context, published: Published) -> Table | None:
    """What others reported on the data set's benchmark; None if nothing is known."""
    reports = published.of(context.results.data.name)
    if not reports:
        return None
    return Table(
        name=context.name("reported"),
        caption=context.caption(
            "what others reported on the benchmark of this name. Their numbers come from other splits, evaluation and "
            "training than ours, as the protocol column says: two columns, never one comparison."
        ),
        columns=[Column("network"), Column("benchmark", words=2), Column("here, mean of classes", words=2), *COLUMNS],
        rows=[
            [network, report.benchmark, _here(context.results, published, network, report), *_columns(report, values)]
            for report in reports
            for network, values in report.values.items()
        ],
    )


def elsewhere(reports: list[Report], budget: Budget) -> Table:
    """What others reported of the matrix's networks on other data sets."""
    return Table(
        name="reported_elsewhere",
        caption=f"What others reported on data sets that this matrix ({budget.title}) does not hold. "
        "None of it was measured here.",
        columns=[Column("network"), Column("benchmark", words=2), *COLUMNS],
        rows=[
            [network, report.benchmark, *_columns(report, values)]
            for report in reports
            for network, values in report.values.items()
        ],
    )


def _columns(report: Report, values: list[float]) -> list[Value]:
    numbers = ", ".join(f"{value:g}" for value in values)
    return [numbers, f"{report.metric}, {report.unit}", report.by, report.protocol, report.source, report.standing]


def _here(results: DataSetResults, published: Published, network: str, report: Report) -> str | None:
    """Our means of the trainers of a network, in the unit of the report; None if we have no such number."""
    metric = _same_metric(results, report)
    if metric is None:
        return None
    scale = 100 if report.unit == "%" and metric.unit in PLAIN else 1
    cells = [results.cells.get(trainer) for trainer in published.trainers.get(network, [])]
    means = {cell.trainer: scale * cell.class_mean(metric) for cell in cells if cell and cell.complete}
    return ", ".join(f"{mean:.2f} ({trainer})" for trainer, mean in means.items()) or None


def _same_metric(results: DataSetResults, report: Report) -> Metric | None:
    names = DICE if report.metric.lower() in DICE else (report.metric.lower(),)
    return next((metric for metric in results.metrics if metric.name.lower() in names), None)
