"""What a fold's training left beside its scores: the curves of nnU-Net's log, and what the job cost."""

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

JOB_FILE = "nnunet_ext_job.json"
# nnU-Net prints NumPy numbers, which NumPy 2 shows with their type: [np.float32(0.91), np.float32(nan)].
NUMBER = r"(?<![\w.])(-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|nan|inf|-inf)(?![\w.])"
LINE = re.compile(r"^\S+ \S+: (Epoch time:|Epoch|train_loss|val_loss|Pseudo dice)\s+(.+?)\s*$")


@dataclass
class Epoch:
    """One epoch's numbers; NaN where the log has none."""

    train_loss: float = math.nan
    validation_loss: float = math.nan
    pseudo_dice: float = math.nan
    """Mean over the classes of nnU-Net's Dice on validation patches."""
    seconds: float = math.nan


@dataclass(frozen=True)
class Training:
    """One fold's training."""

    epochs: dict[int, Epoch]
    """By number, from 0."""
    job: dict[str, Any] = field(default_factory=dict)
    """The content of nnunet_ext_job.json; empty if there is none."""

    def number(self, key: str) -> float | None:
        """A number of the job file; None if it does not say."""
        value = self.job.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    @property
    def seconds_per_epoch(self) -> float | None:
        """From the job file, or the median of nnU-Net's log."""
        told = self.number("seconds_per_epoch")
        if told is not None:
            return told
        logged = sorted(epoch.seconds for epoch in self.epochs.values() if not math.isnan(epoch.seconds))
        return logged[len(logged) // 2] if logged else None


def read(fold: Path) -> Training:
    """Read the logs and the job file of a fold's folder, as far as they are there."""
    epochs: dict[int, Epoch] = {}
    for log in sorted(fold.glob("training_log_*.txt")):  # named by date: a resumed epoch replaces the one that was lost
        read_log(log, epochs)
    try:
        job = json.loads((fold / JOB_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        job = {}
    return Training(dict(sorted(epochs.items())), job if isinstance(job, dict) else {})


def read_log(log: Path, epochs: dict[int, Epoch]) -> None:
    """Add the epochs of one training log to `epochs`."""
    current = Epoch()
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        key, text = match.groups()
        if key == "Epoch":
            if text.isdigit():
                current = epochs[int(text)] = Epoch()
            continue
        numbers = [float(number) for number in re.findall(NUMBER, re.sub(r"np\.float\d+", "", text))]
        known = [number for number in numbers if not math.isnan(number)]
        value = sum(known) / len(known) if known else math.nan
        if key == "train_loss":
            current.train_loss = value
        elif key == "val_loss":
            current.validation_loss = value
        elif key == "Pseudo dice":
            current.pseudo_dice = value
        else:
            current.seconds = value
