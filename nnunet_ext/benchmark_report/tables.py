"""The tables of one data set's scores and of what they cost."""

from nnunet_ext.benchmark.matrix import Budget
from nnunet_ext.benchmark_report.context import Context, decimals, direction, label
from nnunet_ext.benchmark_report.document import Column, Table, Value, fixed
from nnunet_ext.benchmark_report.results import DataSetResults, Metric

GIB = 2**30


def missing(results: list[DataSetResults], budget: Budget) -> Table | None:
    """The folds that do not count, networks that miss the same together; None if everything is there."""
    rows: list[list[Value]] = []
    for found in results:
        trainers: dict[str, list[str]] = {}
        for cell in found.cells.values():
            if not cell.complete:
                trainers.setdefault(_folds(cell.missing), []).append(cell.trainer)
        title = Context(found, budget).title
        rows += [[title, reasons, ", ".join(names)] for reasons, names in trainers.items()]
    if not rows:
        return None
    return Table(
        name="missing",
        caption=f"Not everything of this matrix, {budget.title}, is there. These networks have no numbers, and the "
        "statistics leave them out, because a mean over fewer folds or cases is a mean over other patients.",
        columns=[Column("data set"), Column("missing", words=3), Column("networks", words=5)],
        rows=rows,
    )


def _folds(reasons: dict[int, str]) -> str:
    """As "folds 0, 1: not trained; fold 2: not validated"."""
    folds: dict[str, list[str]] = {}
    for fold, reason in reasons.items():
        folds.setdefault(reason, []).append(str(fold))
    return "; ".join(f"fold{'s' * (len(each) > 1)} {', '.join(each)}: {reason}" for reason, each in folds.items())


def scores(context: Context, metric: Metric) -> Table:
    """Mean over cases, spread over folds, and every class; an incomplete network has a mark and no number."""
    tables = {cell.trainer: cell.table(metric) for cell in context.results.complete}
    digits = decimals([float(value) for table in tables.values() for value in table.max()])
    best = direction(metric)
    columns = [
        Column("network"),
        Column("folds"),
        Column("cases"),
        Column("mean", fixed(digits), best),
        Column("mean of classes", fixed(digits), best),
        Column("SD of folds", fixed(digits)),
        *(Column(name, fixed(digits), best) for name in metric.classes),
    ]
    rows: list[list[Value]] = []
    for trainer, cell in context.results.cells.items():
        if not cell.complete:
            rows.append([trainer, cell.progress, *[None] * (len(columns) - 2)])
            continue
        table = tables[trainer]
        means = cell.case_means(metric)
        spread = means.groupby(level="fold").mean().std(ddof=1)
        overall = [float(means.mean()), cell.class_mean(metric), float(spread)]
        rows.append([trainer, cell.progress, int(means.count()), *overall, *map(float, table.mean())])
    return Table(
        name=context.name("scores", metric.name),
        caption=context.caption(
            f"{label(metric)}, by {context.results.source}. Mean: over cases, of the mean over the classes that have a "
            "value in the case, as in the tests below. Mean of classes: of the classes' columns, as nnU-Net and most "
            "papers average. SD of folds: of the folds' means. A network whose folds are not all there has no number."
        ),
        columns=columns,
        rows=rows,
    )


def cost(context: Context) -> Table:
    """Seconds and memory, over the folds; no number where a fold's is missing."""
    columns = [
        Column("network"),
        Column("folds"),
        Column("device"),
        Column("epochs"),
        Column("seconds per epoch", fixed(1)),
        Column("hours per fold", fixed(2)),
        Column("peak GPU memory, GiB", fixed(2)),
        Column("peak memory, GiB", fixed(2)),
        Column("resumed folds"),
    ]
    rows: list[list[Value]] = []
    for trainer, cell in context.results.cells.items():
        if not cell.complete:
            rows.append([trainer, cell.progress, *[None] * (len(columns) - 2)])
            continue
        trainings = list(cell.trainings.values())
        jobs = [training.job for training in trainings if training.job]
        devices = dict.fromkeys(str(job["device"]) for job in jobs if "device" in job)
        epochs = dict.fromkeys(str(len(training.epochs)) for training in trainings if training.epochs)
        rows.append(
            [
                trainer,
                cell.progress,
                ", ".join(devices) or None,
                ", ".join(epochs) or None,
                _mean([training.seconds_per_epoch for training in trainings]),
                _mean([training.number("seconds") for training in trainings], scale=3600),
                _largest([training.number("peak_gpu_bytes") for training in trainings]),
                _largest([training.number("peak_rss_bytes") for training in trainings]),
                sum(bool(job.get("resumed")) for job in jobs) if jobs else None,
            ]
        )
    return Table(
        name=context.name("cost"),
        caption=context.caption(
            "time and memory of training and validation. Epochs: as logged. Seconds and hours: mean over folds; "
            "memory: of the fold that took most. A dash: it was not recorded for every fold. Times of different "
            "devices cannot be compared."
        ),
        columns=columns,
        rows=rows,
    )


def _mean(values: list[float | None], scale: float = 1) -> float | None:
    known = [value / scale for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _largest(values: list[float | None]) -> float | None:
    known = [value / GIB for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None
