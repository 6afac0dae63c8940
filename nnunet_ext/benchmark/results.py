"""What nnU-Net has written of a fold: whether it is done, how far it is, and what an epoch takes."""

import json
import re
import statistics
import zipfile
from pathlib import Path

from nnunet_ext.benchmark.folders import nnunet_folder
from nnunet_ext.benchmark.matrix import Fold

LOCK = "nnunet_ext_job.lock"
FINAL = "checkpoint_final.pth"
CHECKPOINTS = (FINAL, "checkpoint_latest.pth", "checkpoint_best.pth")
"""In the order in which nnU-Net's --c looks for them."""
EPOCH = re.compile(r"^\S+ \S+: Epoch (\d+) *$", re.MULTILINE)
EPOCH_SECONDS = re.compile(r"^\S+ \S+: Epoch time: ([\d.]+) s", re.MULTILINE)


class FoldResults:
    """The folder of a fold below nnUNet_results."""

    def __init__(self, fold: Fold) -> None:
        self.folder = nnunet_folder("nnUNet_results") / fold.job
        self._planned_epochs = fold_epochs(fold)

    @property
    def lock(self) -> Path:
        """Held by whoever trains the fold, in whichever benchmark."""
        return self.folder / LOCK

    def is_done(self) -> bool:
        """Whether training and validation ended: the checkpoint is whole, and so is the summary, which comes last."""
        try:
            summary = json.loads((self.folder / "validation" / "summary.json").read_text())
        except (OSError, ValueError):
            return False
        return "foreground_mean" in summary and (self.folder / FINAL).is_file()

    def is_trained(self) -> bool:
        """Whether only the validation may be missing."""
        return (self.folder / FINAL).is_file()

    def has_checkpoint(self) -> bool:
        """Whether training can continue."""
        return any((self.folder / name).is_file() for name in CHECKPOINTS)

    def remove_damaged_checkpoints(self) -> list[str]:
        """Remove the checkpoints that a kill cut off, so that --c takes the one before; returns their names."""
        damaged = [
            name
            for name in CHECKPOINTS
            if (self.folder / name).is_file() and not zipfile.is_zipfile(self.folder / name)
        ]
        for name in damaged:
            (self.folder / name).unlink()
        return damaged

    def epoch(self) -> int:
        """The number of epochs that began, 0 before the first."""
        for log in reversed(self._logs()):
            if numbers := EPOCH.findall(_text(log)):
                return int(numbers[-1]) + 1
        return 0

    def epochs(self) -> int:
        """The number of epochs of the whole training."""
        try:
            # nnU-Net's list of the trainer's attributes: a recipe of its own may have another length than the budget.
            return int(json.loads((self.folder / "debug.json").read_text())["num_epochs"])
        except (OSError, ValueError, KeyError):
            return self._planned_epochs

    def seconds_per_epoch(self) -> float | None:
        """Median over the epochs that ended, None before the first has."""
        seconds = [float(number) for log in self._logs() for number in EPOCH_SECONDS.findall(_text(log))]
        return round(statistics.median(seconds), 3) if seconds else None

    def last_sign(self) -> float | None:
        """When nnU-Net wrote to the last log, in seconds since 1970."""
        return max((log.stat().st_mtime for log in self._logs()), default=None)

    def _logs(self) -> list[Path]:
        """The training logs, one per start, oldest first; their names do not sort by time."""
        return sorted(self.folder.glob("training_log_*.txt"), key=lambda log: log.stat().st_mtime)


def fold_epochs(fold: Fold) -> int:
    """The epochs that the name of the trainer tells, else nnU-Net's."""
    match = re.search(r"_(\d+)epochs(?:_\d+iterations)?$", fold.trainer)
    return int(match[1]) if match else 1000


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")
