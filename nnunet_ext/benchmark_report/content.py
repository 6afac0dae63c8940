"""What the report says, section by section."""

from collections.abc import Collection
from pathlib import Path

from nnunet_ext.benchmark.matrix import Matrix
from nnunet_ext.benchmark_report import comparisons, figures, overlays, published, reported, tables
from nnunet_ext.benchmark_report.context import Context, label
from nnunet_ext.benchmark_report.document import Document, Figure, Section, Table
from nnunet_ext.benchmark_report.results import DataSetResults, Metric
from nnunet_ext.demo.trainers import STOCK

Block = str | Table | Figure


def document(
    matrix: Matrix, results: list[DataSetResults], pictures: Path, without_images: Collection[int]
) -> Document:
    """Write the whole report and draw its figures into the folder `pictures`.

    Args:
        matrix: what was to be done.
        results: what was found, in the matrix's order.
        pictures: folder of the figures; it is there.
        without_images: ids of data sets of which no image may be shown.
    """
    literature = published.read()
    sections = [Section("What was compared", _overview(matrix, results))]
    for found in results:
        context = Context(found, matrix.budget)
        sections.append(Section(context.title, _head(context, literature)))
        for metric in found.metrics:
            sections.append(Section(label(metric), _metric(context, metric, pictures), level=2))
        sections.append(Section("Learning curves", _curves(context, pictures), level=2))
        sections.append(Section("Time and memory", [tables.cost(context)], level=2))
        sections.append(Section("Cases", _cases(context, pictures, found.data.id in without_images), level=2))
    reports = literature.elsewhere([found.data.name for found in results], list(matrix.trainers))
    if reports:
        sections.append(Section("Reported on other data sets", [reported.elsewhere(reports, matrix.budget)]))
    sections.append(Section("How to read the statistics", _method()))
    return Document(f"Benchmark report, {matrix.budget.title}", sections)


def _overview(matrix: Matrix, results: list[DataSetResults]) -> list[Block]:
    folds = ", ".join(map(str, matrix.folds))
    folds += "".join(
        f" ({data.name}: fold {', '.join(map(str, data.folds))} only)" for data in matrix.datasets if data.folds
    )
    suffix = matrix.budget.trainer_suffix
    blocks: list[Block] = [
        f"Networks: {len(matrix.trainers)}; data sets: {len(results)}; {matrix.budget.title}; folds {folds}. "
        "Every network has the same plan and folds. A trainer that brings its authors' recipe may train another number "
        "of epochs than the budget's; the tables of time and memory say how many each one did."
        + (f" The trainers' names end with {suffix}, which is left out below." if suffix else "")
    ]
    gaps = tables.missing(results, matrix.budget)
    if gaps is not None:
        blocks.append(gaps)
    versions: dict[str, dict[str, None]] = {}
    for found in results:
        for cell in found.cells.values():
            for training in cell.trainings.values():
                told = training.job.get("versions")
                for package, version in told.items() if isinstance(told, dict) else ():
                    versions.setdefault(str(package), {})[str(version)] = None
    if versions:
        blocks.append("Versions: " + "; ".join(f"{name} {', '.join(each)}" for name, each in versions.items()) + ".")
    return blocks


def _head(context: Context, literature: published.Published) -> list[Block]:
    table = reported.on_this_benchmark(context, literature)
    scored = f"Scores by {context.results.source}." if context.results.metrics else "No fold has finished here."
    if table is None:
        return [scored, "On a data set of this name no reported number is on our list."]
    return [scored, table]


def _metric(context: Context, metric: Metric, pictures: Path) -> list[Block]:
    results = context.results
    blocks: list[Block] = [tables.scores(context, metric)]
    complete = results.complete
    if not complete:
        return [*blocks, "No network has all folds, so that nothing is compared."]
    left_out = [trainer for trainer, cell in results.cells.items() if not cell.complete]
    if left_out:
        blocks.append(f"Left out of the statistics, because folds or cases are missing: {', '.join(left_out)}.")
    blocks += _against_nnunet(context, metric)
    blocks += _ranking(context, metric, pictures)
    target = pictures / f"{context.name('boxes', metric.name)}.png"
    figures.box_plots(complete, metric, target)
    caption = f"{label(metric)}, a box over the cases of all folds: quartiles, median, and points beyond 1.5 times the "
    return [*blocks, Figure(target, context.caption(caption + "distance of the quartiles."))]


def _against_nnunet(context: Context, metric: Metric) -> list[Block]:
    stock = context.results.cells.get(STOCK)
    if stock is None:
        return [f"The matrix has no {STOCK}, so that no network is compared with nnU-Net's own."]
    if not stock.complete:
        return [f"{STOCK} has {stock.progress}, so that no network is compared with nnU-Net's own."]
    table = comparisons.against_nnunet(context, metric)
    if table is None:
        return [f"No other network than {STOCK} has all folds and a common case."]
    note = comparisons.too_few(table)
    classes = comparisons.classes_against_nnunet(context, metric)
    return [table, *([note] if note else []), *([classes] if classes else [])]


def _ranking(context: Context, metric: Metric, pictures: Path) -> list[Block]:
    ranking = comparisons.ranking(context.results, metric)
    if ranking is None:
        return ["Friedman's test needs three complete networks that differ, and two cases: there is none here."]
    target = pictures / f"{context.name('ranks', metric.name)}.png"
    figures.critical_difference(ranking, [cell.trainer for cell in context.results.complete], target)
    p = "< 0.001" if ranking.p < 0.001 else f"= {ranking.p:.3f}"
    return [
        f"Friedman's test of equal ranks over {ranking.cases} cases: p {p}."
        + (
            "" if ranking.p < 0.05 else " The diagram below then says nothing: no network is shown to rank differently."
        ),
        Figure(
            target,
            context.caption(
                f"{label(metric)}, mean ranks over cases, 1 the best. A bar joins networks whose ranks differ by less "
                f"than Nemenyi's critical difference at 5 % ({ranking.critical_difference:.2f}). With few cases "
                "it has little power: a bar does not show that networks are equal. Read the tables against nnU-Net."
            ),
        ),
    ]


def _curves(context: Context, pictures: Path) -> list[Block]:
    target = pictures / f"{context.name('curves')}.png"
    if not figures.learning_curves(list(context.results.cells.values()), target):
        return ["No training log was found."]
    caption = (
        "Dice and loss on nnU-Net's validation patches, a line for each fold that was begun; folds are not averaged. "
        f"Of trainings with more than {figures.EVERY_EPOCH} epochs, a point is the mean of neighbouring epochs. "
        "Losses of trainers with another loss function are on another scale."
    )
    return [Figure(target, context.caption(caption))]


def _cases(context: Context, pictures: Path, hidden: bool) -> list[Block]:
    results = context.results
    if hidden:
        return ["The images of this data set are not shown, as was asked for."]
    if not results.complete:
        return ["No network has all folds."]
    metric = results.metrics[0]
    blocks: list[Block] = []
    problems: dict[str, str] = {}
    for cell in results.complete:
        target = pictures / f"{context.name('cases', cell.trainer)}.png"
        problem = overlays.draw(results, cell, metric, target)
        if problem:
            problems[cell.trainer] = problem
        else:
            caption = (
                f"{cell.trainer}: its best, median and worst case by {metric.name}, in the slice where reference and "
                "prediction differ most."
            )
            blocks.append(Figure(target, context.caption(caption)))
    if problems:
        first = next(iter(problems.values()))
        where = "" if set(problems.values()) == {first} else "for the first of them, "
        blocks.append(f"The cases of {', '.join(problems)} could not be drawn: {where}{first}.")
    return blocks


def _method() -> list[Block]:
    return [
        "Every case is validated once, by the network of the fold that did not train on it. The tests take all folds' "
        "cases together, paired between networks; a case counts by the mean over the classes that have a value in "
        "it. They tell how sure a difference is for these trained networks on patients like these. They do not know "
        "how much another seed would change: compare a difference with the SD of folds as well.",
        "Holm's correction holds within one table. Tables of other metrics and data sets are not corrected for each "
        "other.",
        "The Wilcoxon test drops cases without a difference; p is exact up to 50 cases (13 with ties), else from the "
        "normal approximation. An effect size of 1 means that the network has more in every case, 0.33 that twice as "
        "much rank weight lies on its side as on nnU-Net's.",
    ]
