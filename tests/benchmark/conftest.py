"""A matrix whose results are made by the tests, in the form in which nnU-Net leaves them."""

import json
import zipfile
from pathlib import Path

import pytest

from nnunet_ext.benchmark import matrix as matrices
from nnunet_ext.benchmark.matrix import BUDGETS, Dataset, Fold, Matrix

STAMP = "2026-11-21 12:00:00.000001:"
HEAD = [f"{STAMP} Using torch.compile...", "", "Please cite the following paper when using nnU-Net:"]
BEGIN = ["", "Epoch {number}", "Current learning rate: 0.01"]
END = ["train_loss -0.5", "Pseudo dice [np.float32(0.81), np.float32(nan)]", "Epoch time: {seconds} s"]


def _logged(lines: list[str], **values: float) -> list[str]:
    """As nnU-Net writes them: with the time in front, and a space at the end."""
    return [f"{STAMP} {line.format(**values)} " for line in lines]


class Benchmark:
    """A folder with a matrix of one data set, two trainers, five folds and the budget of five epochs."""

    def __init__(self, folder: Path):
        self.folder = folder / "benchmark"
        data = Dataset(4, "Dataset004_Hippocampus", "3d_fullres", "nnUNetPlans", "nnunet")
        self.matrix = Matrix(BUDGETS["5epochs"], (data,), ("nnUNetTrainer", "nnUNetTrainerLKMUNet"), tuple(range(5)))
        matrices.write(self.folder, self.matrix)
        self._results = folder / "nnUNet_results"

    def fold(self, number: int, trainer: str = "nnUNetTrainer_5epochs") -> Fold:
        return Fold(self.matrix.datasets[0], trainer, number)

    def place(self, number: int) -> Path:
        """The folder of a fold of nnU-Net's own trainer."""
        path = self._results / self.fold(number).job
        path.mkdir(parents=True, exist_ok=True)
        return path

    def train(self, number: int, epochs: int, seconds: float, log: str = "2026_11_21_12_00_00") -> None:
        """Leave what a training of so many whole epochs, and one that has begun, leaves."""
        lines = list(HEAD)
        for epoch in range(epochs):
            lines += _logged(BEGIN, number=epoch) + _logged(END, seconds=seconds)
        if epochs < 5:
            lines += _logged(BEGIN, number=epochs)
        (self.place(number) / f"training_log_{log}.txt").write_text("\n".join(lines) + "\n")
        (self.place(number) / "debug.json").write_text(json.dumps({"num_epochs": "5"}))
        self.checkpoint(number, "checkpoint_latest.pth")

    def checkpoint(self, number: int, name: str) -> None:
        with zipfile.ZipFile(self.place(number) / name, "w") as archive:  # as torch saves
            archive.writestr("archive/data.pkl", b"weights")

    def finish(self, number: int) -> None:
        """Leave what is there when nnU-Net has ended."""
        self.train(number, 5, 2.0)
        (self.place(number) / "checkpoint_latest.pth").unlink()
        self.checkpoint(number, "checkpoint_final.pth")
        validation = self.place(number) / "validation"
        validation.mkdir()
        (validation / "summary.json").write_text(json.dumps({"foreground_mean": {"Dice": 0.8}, "metric_per_case": []}))


@pytest.fixture
def benchmark(nnunet_folders: Path) -> Benchmark:
    return Benchmark(nnunet_folders)
