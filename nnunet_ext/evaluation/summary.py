"""The averages of an evaluation, and the two files it writes."""

import csv
import datetime
import io
import json
import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_ext.evaluation.evaluate import Result
from nnunet_ext.evaluation.metrics.pixels import BACKGROUND
from nnunet_ext.evaluation.protocols.base import ALL, Protocol, Undefined
from nnunet_ext.files import write_text
from nnunet_ext.versions import versions

PACKAGES = ("nnunet-ext", "nnunetv2", "numpy", "scipy", "nibabel", "SimpleITK", "scikit-image")
COLUMNS = ("case", "class", "metric", "unit", "value")


def summarize(protocol: Protocol, result: Result) -> dict[str, Any]:
    """The content of the JSON file; undefined numbers are None.

    `complete` is false, and `how_averaged` says so, where cases are missing from the means.
    """
    values: dict[str, dict[str, list[float]]] = {}
    units: dict[str, str] = {}
    for value in (value for values_ in result.values.values() for value in values_):
        values.setdefault(value.class_, {}).setdefault(value.metric, []).append(value.value)
        units[value.metric] = value.unit
    mean = {
        name: {metric: _mean(each, protocol.undefined_cases) for metric, each in metrics.items()}
        for name, metrics in values.items()
    }
    for metric, number in protocol.pooled(list(result.values.values())).items():
        mean.setdefault(ALL, {})[metric] = number
        units[metric] = "1"
    foreground: dict[str, list[float]] = {}
    for metric, number in ((*item,) for name in mean if name != BACKGROUND for item in mean[name].items()):
        foreground.setdefault(metric, []).append(number)
    expected = len(result.values) + len(result.failed)
    incomplete = f"INCOMPLETE: {len(result.failed)} of {expected} cases are missing from these means. "
    return {
        "protocol": protocol.name,
        "notes": protocol.notes,
        "source": protocol.source,
        "versions": versions(PACKAGES),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "n_cases": len(result.values),
        "complete": not result.failed,
        "compared_by": list(protocol.metrics),
        "units": units,
        "mean": {name: _without_nan(metrics) for name, metrics in mean.items()},
        "foreground_mean": _without_nan(
            {metric: _mean(each, protocol.undefined_classes) for metric, each in foreground.items()}
        ),
        "how_averaged": (incomplete if result.failed else "") + protocol.how_averaged,
        "failed_cases": result.failed,
    }


def prepare(folder: Path) -> None:
    """Make `folder`; OSError if nothing can be written into it, which is better known before an hour of scoring."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def write(summary: dict[str, Any], result: Result, folder: Path) -> tuple[Path, Path]:
    """Write evaluation_<protocol>.csv and .json into `folder`, each whole or not at all; returns both paths."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for case, values in result.values.items():
        for name, metric, unit, value in values:
            writer.writerow((case, name, metric, unit, "" if math.isnan(value) else value))
    paths = tuple(folder / f"evaluation_{summary['protocol']}.{ending}" for ending in ("csv", "json"))
    write_text(paths[0], table.getvalue())
    write_text(paths[1], json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return paths[0], paths[1]


def _mean(values: Iterable[float], undefined: Undefined) -> float:
    kept = [value for value in values if undefined == "undefined" or not math.isnan(value)]
    return float(np.mean(kept)) if kept else math.nan


def _without_nan(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(number) else number for name, number in numbers.items()}
