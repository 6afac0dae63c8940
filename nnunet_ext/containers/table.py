"""The result of a test, as a table and as JSON."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from nnunet_ext.containers.trial import Outcome
from nnunet_ext.files import write_text


def table(outcomes: Sequence[Outcome]) -> Table:
    """A row per case."""
    drawn = Table("case", "result")
    for column in ("s", "memory GB", "CPU % s", "GPU MB", "GPU MB s"):
        drawn.add_column(column, justify="right")
    drawn.add_column("reason", overflow="fold")
    for outcome in outcomes:
        measured = outcome.measured
        drawn.add_row(
            outcome.name,
            "fail" if outcome.problems else "pass",
            f"{outcome.seconds:.1f}",
            _number(measured.memory, 1e-9, 2),
            _number(cpu_area(outcome), 1, 0),
            _number(measured.gpu_memory, 1, 0),
            _number(measured.gpu_area, 1, 0),
            "; ".join(outcome.problems),
        )
    return drawn


def cpu_area(outcome: Outcome) -> float | None:
    """The area under the curve of CPU utilisation, 100 % being all CPUs of this machine, in % s."""
    seconds = outcome.measured.cpu_seconds
    return None if seconds is None else 100 * seconds / (os.cpu_count() or 1)


def write_json(outcomes: Sequence[Outcome], file: Path) -> None:
    """The same numbers, and the bytes of memory."""
    rows = [dataclasses.asdict(outcome) | {"cpu_area": cpu_area(outcome)} for outcome in outcomes]
    write_text(file, json.dumps(rows, indent=2) + "\n")


def _number(value: float | None, factor: float, digits: int) -> str:
    return "-" if value is None else f"{value * factor:.{digits}f}"
