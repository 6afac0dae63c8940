"""Writing a report: everything is made in a folder beside the target, and moved there when it is whole."""

import os
import shutil
import tempfile
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from nnunet_ext.benchmark import matrix as matrices
from nnunet_ext.benchmark.folders import nnunet_folder
from nnunet_ext.benchmark.matrix import Budget, Matrix
from nnunet_ext.benchmark_report import content, html, latex, markdown
from nnunet_ext.benchmark_report import results as scores
from nnunet_ext.benchmark_report.document import Document, Table
from nnunet_ext.benchmark_report.errors import ReportError
from nnunet_ext.benchmark_report.results import DataSetResults
from nnunet_ext.catalogue import ENTRIES
from nnunet_ext.demo.trainers import STOCK


def write(folder: Path, out: Path, without_images: Collection[int] = ()) -> Path:
    """Write the report on the matrix in `folder` into `out`, and return the path of report.html.

    Files of an earlier report are replaced; other files in `out` stay.

    Args:
        folder: holds matrix.json.
        out: made if it is not there.
        without_images: ids of data sets of which no image may be shown.

    Raises:
        BenchmarkError: the matrix or its results are not there, or something is missing here.
    """
    if find_spec("jinja2") is None:
        raise ReportError("The report needs the package jinja2: pip install 'nnunet-ext[report]'.")
    matrix = matrices.read(folder)
    unknown = sorted(set(without_images) - {data.id for data in matrix.datasets})
    if unknown:
        raise ReportError(f"The matrix has no data set {unknown[0]}; leave it out of --without-images.")
    results = nnunet_folder("nnUNet_results")
    if out.exists() and not out.is_dir():
        raise ReportError(f"{out} is a file; give --out a folder.")
    check_trainers(matrix, results)
    found = scores.collect(matrix, results)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as made:
        _make(matrix, found, Path(made), without_images)
        out.mkdir(exist_ok=True)
        for path in sorted(Path(made).iterdir()):
            _move(path, out / path.name)
    return out / "report.html"


def check_trainers(matrix: Matrix, results: Path) -> None:
    """ReportError if a trainer has no result on any data set, and is neither nnU-Net's nor ours."""
    known = {STOCK, *(entry.trainer for entry in ENTRIES)}
    for trainer in matrix.trainers:
        if trainer not in known and not any(
            scores.model_folder(matrix, results, data, trainer).is_dir() for data in matrix.datasets
        ):
            raise ReportError(
                f"The matrix names the trainer {trainer}, of which {results} holds nothing; correct its name in "
                f"{matrices.FILE} (`nnunet-ext list` shows ours)."
            )


def _make(matrix: Matrix, results: list[DataSetResults], made: Path, without_images: Collection[int]) -> None:
    pictures, csv = made / "figures", made / "tables"
    pictures.mkdir()
    csv.mkdir()
    document = content.document(matrix, results, pictures, without_images)
    for table in document.tables:
        _write_table(table, matrix.budget, csv)
    _long(matrix, results).to_csv(made / "scores.csv", index=False)
    _case_means(results).to_csv(made / "cases.csv", index=False)
    _write_texts(document, made)


def _write_texts(document: Document, made: Path) -> None:
    for renderer, name in ((markdown, "report.md"), (latex, "report.tex"), (html, "report.html")):
        (made / name).write_text(renderer.render(document), encoding="utf-8")


def _write_table(table: Table, budget: Budget, folder: Path) -> None:
    frame = pd.DataFrame(table.rows, columns=[column.title for column in table.columns], dtype=object)
    frame.insert(0, "budget", budget.name)
    frame.to_csv(folder / f"{table.name}.csv", index=False)


def _long(matrix: Matrix, results: list[DataSetResults]) -> pd.DataFrame:
    """Every value that was read; "complete" says whether the network has all folds."""
    frames = [
        cell.scores.assign(
            budget=matrix.budget.name,
            dataset=found.data.name,
            configuration=found.data.configuration,
            plans=found.data.plans,
            trainer=cell.trainer,
            complete="yes" if cell.complete else "no",
        )
        for found in results
        for cell in found.cells.values()
        if not cell.scores.empty
    ]
    first = ["budget", "dataset", "configuration", "plans", "trainer", "complete", "fold"]
    return pd.concat(frames)[[*first, *scores.COLUMNS]]


def _case_means(results: list[DataSetResults]) -> pd.DataFrame:
    """Means over classes of the complete networks, in the columns that ranking tools as challengeR read."""
    rows = [
        (f"{found.data.name} {found.data.configuration} {metric.name}", cell.trainer, case, value)
        for found in results
        for metric in found.metrics
        for cell in found.complete
        for (_, case), value in cell.case_means(metric).items()
    ]
    return pd.DataFrame(rows, columns=["task", "algorithm", "case", "value"])


def _move(path: Path, target: Path) -> None:
    if path.is_dir() and target.is_dir():
        shutil.rmtree(target)
    os.replace(path, target)
