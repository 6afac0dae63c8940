"""The scores of every network, case and class, read from the folders below nnUNet_results."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_ext.benchmark.matrix import Dataset, Matrix
from nnunet_ext.benchmark.scores import older_than_validation
from nnunet_ext.benchmark_report import training
from nnunet_ext.benchmark_report.errors import ReportError
from nnunet_ext.benchmark_report.training import Training
from nnunet_ext.demo.results import read_summary
from nnunet_ext.evaluation.labels import foreground

COLUMNS = ["case", "class", "metric", "unit", "value"]
NNUNET = "nnU-Net's summary.json (no value where a class is absent in reference and prediction)"
BACKGROUND = "background"
"""Protocols that score it as a class leave it out of their means."""
DICE = ("dice", "dsc")
LOWER_IS_BETTER = ("hd", "assd", "asd", "masd", "mae", "rmse", "error")
"""How the names of distances and errors begin; of all other metrics more is better."""


@dataclass(frozen=True)
class Metric:
    """One metric of a data set's evaluation."""

    name: str
    unit: str
    classes: tuple[str, ...]

    @property
    def is_dice(self) -> bool:
        """Whether this is the Dice coefficient."""
        return self.name.lower() in DICE

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better."""
        return not any(word.startswith(LOWER_IS_BETTER) for word in self.name.lower().replace("_", " ").split())


@dataclass(frozen=True)
class Cell:
    """One network on one data set."""

    trainer: str
    folder: Path
    """The folder of its folds."""
    folds: tuple[int, ...]
    missing: dict[int, str]
    """Why a fold does not count; empty if the cell is complete."""
    scores: pd.DataFrame
    """The folds that were found, one row for each fold, case, class and metric."""
    trainings: dict[int, Training]

    @property
    def complete(self) -> bool:
        """Whether every fold is there with every case."""
        return not self.missing

    @property
    def progress(self) -> str:
        """As "3/5 folds"."""
        return f"{len(self.folds) - len(self.missing)}/{len(self.folds)} folds"

    def table(self, metric: Metric) -> pd.DataFrame:
        """Values of one metric: a row for each (fold, case), a column for each class; NaN where there is none."""
        rows = self.scores[self.scores["metric"] == metric.name]
        wide = rows.set_index(["fold", "case", "class"])["value"].unstack("class")
        return wide.reindex(columns=list(metric.classes))

    def case_means(self, metric: Metric) -> pd.Series:
        """Mean over the foreground classes that have a value, by (fold, case)."""
        return self._foreground(metric).mean(axis=1)

    def class_mean(self, metric: Metric) -> float:
        """Mean over cases for every foreground class, then over classes, as nnU-Net and most papers average."""
        return float(self._foreground(metric).mean().mean())

    def _foreground(self, metric: Metric) -> pd.DataFrame:
        return self.table(metric).drop(columns=BACKGROUND, errors="ignore")


@dataclass(frozen=True)
class DataSetResults:
    """All networks on one data set."""

    data: Dataset
    source: str
    """Where the scores come from, in words."""
    description: dict[str, Any]
    """nnU-Net's dataset.json."""
    metrics: tuple[Metric, ...]
    """Dice first."""
    cells: dict[str, Cell]
    """By trainer."""

    @property
    def complete(self) -> list[Cell]:
        """The networks with all folds, in the matrix's order."""
        return [cell for cell in self.cells.values() if cell.complete]


def model_folder(matrix: Matrix, results: Path, data: Dataset, trainer: str) -> Path:
    """Where nnU-Net keeps the folds of one network below `results`, the folder nnUNet_results."""
    return results / data.name / f"{trainer}{matrix.budget.trainer_suffix}__{data.plans}__{data.configuration}"


def collect(matrix: Matrix, results: Path) -> list[DataSetResults]:
    """Read everything that the matrix names below `results`, the folder nnUNet_results.

    Raises:
        ReportError: nothing has finished, or a data set's folds overlap.
    """
    found = [_data_set(matrix, results, data) for data in matrix.datasets]
    cells = [cell for one in found for cell in one.cells.values()]
    if all(cell.scores.empty for cell in cells):
        reasons = dict.fromkeys(reason for cell in cells for reason in cell.missing.values())
        raise ReportError(
            f"No fold of the matrix has finished below {results} ({', '.join(reasons)}); train with "
            "`nnunet-ext bench`, or let nnUNet_results name the folder that it trained into."
        )
    return found


def _data_set(matrix: Matrix, results: Path, data: Dataset) -> DataSetResults:
    folds = matrix.folds_on(data.name)
    folders = {trainer: model_folder(matrix, results, data, trainer) for trainer in matrix.trainers}
    description = _description([*folders.values()])
    evaluation = f"evaluation_{data.protocol}.csv"
    by_protocol = any(
        (folder / f"fold_{fold}" / "validation" / evaluation).is_file() for folder in folders.values() for fold in folds
    )
    scores: dict[str, pd.DataFrame] = {}
    problems: dict[str, dict[int, str]] = {}
    for trainer, folder in folders.items():
        frames, problems[trainer] = [], {}
        for fold in folds:
            try:
                frame = _fold_scores(folder / f"fold_{fold}" / "validation", evaluation, by_protocol, description)
                frames.append(frame.assign(fold=fold))
            except _NotThereError as reason:
                problems[trainer][fold] = str(reason)
        scores[trainer] = pd.concat(frames) if frames else pd.DataFrame(columns=["fold", *COLUMNS])
        _check_overlap(scores[trainer], data, trainer)
    for trainer, missing in _missing_values(scores, folds).items():
        for fold, lacks in missing.items():
            problems[trainer].setdefault(fold, lacks)
    return DataSetResults(
        data=data,
        source=f"protocol {data.protocol}" if by_protocol else NNUNET,
        description=description,
        metrics=_metrics([frame for frame in scores.values() if not frame.empty]),
        cells={
            trainer: Cell(
                trainer=trainer,
                folder=folder,
                folds=folds,
                missing=dict(sorted(problems[trainer].items())),
                scores=scores[trainer],
                trainings={fold: training.read(folder / f"fold_{fold}") for fold in folds},
            )
            for trainer, folder in folders.items()
        },
    )


class _NotThereError(Exception):
    """Why a fold has no scores."""


def _fold_scores(folder: Path, evaluation: str, by_protocol: bool, description: dict[str, Any]) -> pd.DataFrame:
    """The rows of one fold; nnU-Net writes summary.json last, so that without it the validation has not ended."""
    summary = folder / "summary.json"
    if not summary.is_file():
        raise _NotThereError("not validated" if folder.parent.is_dir() else "not trained")
    try:
        frame = _read_summary(summary, description)
        if by_protocol:
            if older_than_validation(folder / evaluation):
                raise _NotThereError(f"{evaluation} is older than the validation")
            validated = set(frame["case"])
            frame = _read_csv(folder / evaluation, description)
            if lost := sorted(validated - set(frame["case"])):
                raise _NotThereError(f"{evaluation} lacks {len(lost)} validated cases, {lost[0]} for one")
    except FileNotFoundError as error:
        raise _NotThereError(f"no {evaluation}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        name = evaluation if by_protocol else summary.name
        raise _NotThereError(f"{name} cannot be read ({error})") from error
    return frame


def _read_csv(path: Path, description: dict[str, Any]) -> pd.DataFrame:
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    absent = [column for column in COLUMNS if column not in frame.columns]
    if absent:
        raise ValueError(f"no column {absent[0]}")
    frame = frame[COLUMNS].assign(value=pd.to_numeric(frame["value"]))
    if frame.empty:
        raise ValueError("no rows")
    # Of volumes and counts, which a protocol writes too, there is no better and worse.
    summary = path.with_suffix(".json")
    if summary.is_file():
        frame = frame[frame["metric"].isin(json.loads(summary.read_text(encoding="utf-8"))["compared_by"])]
    twice = frame[frame.duplicated(["case", "class", "metric"])]
    if not twice.empty:
        raise ValueError(f"case {twice['case'].iloc[0]} twice")
    return frame.assign(case=frame["case"].str.removesuffix(str(description.get("file_ending", ""))))


def _read_summary(path: Path, description: dict[str, Any]) -> pd.DataFrame:
    summary = read_summary(path, foreground(description["labels"]), description["file_ending"])
    rows = [
        (case, name, "Dice", "1", math.nan if value is None else value)
        for case, values in summary.by_case.items()
        for name, value in values.items()
    ]
    if not rows:
        raise ValueError("no cases")
    return pd.DataFrame(rows, columns=COLUMNS)


def _description(folders: list[Path]) -> dict[str, Any]:
    """The dataset.json that nnU-Net copied into the first model folder that has one."""
    for folder in folders:
        try:
            content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict):
            return content
    return {}


def _check_overlap(scores: pd.DataFrame, data: Dataset, trainer: str) -> None:
    folds_of_case = scores.groupby("case")["fold"].nunique()
    twice = folds_of_case[folds_of_case > 1]
    if not twice.empty:
        raise ReportError(
            f"Case {twice.index[0]} of {data.name} is validated in {twice.iloc[0]} folds of {trainer}, and would count "
            "more than once; name folds that do not overlap."
        )


def _missing_values(scores: dict[str, pd.DataFrame], folds: tuple[int, ...]) -> dict[str, dict[int, str]]:
    """Folds that lack what another network has there: networks are compared on the same cases, classes and metrics."""
    missing: dict[str, dict[int, str]] = {trainer: {} for trainer in scores}
    for fold in folds:
        keys = {
            trainer: set(
                frame.loc[frame["fold"] == fold, ["case", "class", "metric"]].itertuples(index=False, name=None)
            )
            for trainer, frame in scores.items()
        }
        everything = set().union(*keys.values())
        for trainer, own in keys.items():
            if own and (absent := everything - own):
                cases = sorted({case for case, _, _ in absent})
                missing[trainer][fold] = f"lacks values of {len(cases)} cases that others have, {cases[0]} for one"
    return missing


def _metrics(scores: list[pd.DataFrame]) -> tuple[Metric, ...]:
    if not scores:
        return ()
    found = [
        Metric(
            name=str(name),
            unit=", ".join(dict.fromkeys(rows["unit"])),
            classes=tuple(dict.fromkeys(rows["class"])),
        )
        for name, rows in pd.concat(scores).groupby("metric", sort=False)
    ]
    return tuple(sorted(found, key=lambda metric: not metric.is_dice))
