"""A finished matrix in nnU-Net's folders, with scores that a test chooses."""

import csv
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

DATASET = "Dataset009_Fake_set"
STOCK, LKM, MLLA = "nnUNetTrainer", "nnUNetTrainerLKMUNet", "nnUNetTrainerMLLAUNet"
CLASSES = {"head": 1, "tail": 2}
VERSIONS = {"torch": "2.9.1"}

Scores = Mapping[str, Mapping[str, float | None]]
"""Case -> class -> Dice, None where neither reference nor prediction has the class."""

# As nnU-Net 2.8 writes it with NumPy 2.
LOG = """
#######################################################################
Please cite the following paper when using nnU-Net:
#######################################################################

2026-11-21 12:58:45.100000: Using torch.compile...
{epochs}2026-11-21 13:00:33.420153: Training done.
2026-11-21 13:00:33.520153: predicting case_001
2026-11-21 13:00:49.888940: Mean Validation Dice:  0.6917899939992536
"""
EPOCH = """2026-11-21 12:58:50.000001: Yayy!
2026-11-21 12:58:50.000001: Epoch {number}
2026-11-21 12:58:50.000100: Current learning rate: 0.01
2026-11-21 12:58:59.000100: train_loss {loss}
2026-11-21 12:58:59.000200: val_loss {loss}
2026-11-21 12:58:59.000300: Pseudo dice [np.float32({dice}), np.float32(nan)]
2026-11-21 12:58:59.000400: Epoch time: {seconds} s
2026-11-21 12:58:59.000500: Yayy! New best EMA pseudo Dice: {dice}
"""


class Bench:
    """The folder of a matrix, with nnUNet_results and nnUNet_raw beside it."""

    def __init__(self, root: Path, trainers: list[str], folds: int = 5, **data: Any) -> None:
        self.folder, self.results, self.raw = root / "bench", root / "nnUNet_results", root / "nnUNet_raw"
        self.data = {
            "id": 9, "name": DATASET, "configuration": "3d_fullres", "plans": "nnUNetPlans", "protocol": "nnunet",
        } | data  # fmt: skip
        self.trainers, self.folds = trainers, folds
        self.matrix = {
            "budget": {"name": "tiny", "epochs": 20, "trainer_suffix": "_20epochs"},
            "datasets": [self.data],
            "trainers": trainers,
            "folds": list(range(folds)),
        }
        self.folder.mkdir(parents=True)
        self.write_matrix()

    def write_matrix(self) -> None:
        (self.folder / "matrix.json").write_text(json.dumps(self.matrix))

    def model(self, trainer: str) -> Path:
        return self.results / str(self.data["name"]) / f"{trainer}_20epochs__nnUNetPlans__3d_fullres"

    def fold(self, trainer: str, fold: int) -> Path:
        return self.model(trainer) / f"fold_{fold}"

    def train(self, trainer: str, dice: Callable[[int, str], float | None], cases: int = 10) -> None:
        """Finish all folds; case i is validated in fold i modulo the folds and has Dice dice(i, class)."""
        for fold in range(self.folds):
            numbers = range(fold, cases, self.folds)
            scores = {f"case_{i:03d}": {name: dice(i, name) for name in CLASSES} for i in numbers}
            write_summary(self.fold(trainer, fold) / "validation" / "summary.json", scores)
            write_log(self.fold(trainer, fold) / "training_log_2026_11_21_12_58_41.txt", [0.1 * fold, 0.5])
            self.write_job(trainer, fold)
        description = {
            "channel_names": {"0": "CT"},
            "labels": {"background": 0, **CLASSES},
            "numTraining": cases,
            "file_ending": ".nii.gz",
            "licence": "CC BY-SA 4.0",
        }
        (self.model(trainer) / "dataset.json").write_text(json.dumps(description))

    def write_job(self, trainer: str, fold: int, **changes: Any) -> None:
        job = {
            "seconds": 3600.0 * (fold + 1), "seconds_per_epoch": 10.0 + fold, "peak_gpu_bytes": (fold + 1) * 2**30,
            "peak_rss_bytes": 3 * 2**30, "device": "Fake GPU", "versions": VERSIONS, "resumed": fold == 0,
        }  # fmt: skip
        (self.fold(trainer, fold) / "nnunet_ext_job.json").write_text(json.dumps(job | changes))

    def evaluate(self, trainer: str, protocol: str, rows: Mapping[int, list[tuple[str, str, str, str, float]]]) -> None:
        """Write the evaluation of every fold: case, class, metric, unit, value."""
        for fold, lines in rows.items():
            path = self.fold(trainer, fold) / "validation" / f"evaluation_{protocol}.csv"
            with path.open("w", newline="") as file:
                csv.writer(file).writerows([("case", "class", "metric", "unit", "value"), *lines])

    def draw_cases(self, cases: int = 10) -> None:
        """Images, references and predictions of all cases: reference a cube, predictions moved along z by i voxels."""
        for i in range(cases):
            reference = np.zeros((12, 14, 20), np.uint8)
            reference[3:8, 3:8, 2:7], reference[3:8, 8:11, 2:7] = 1, 2
            name = f"case_{i:03d}"
            raw = self.raw / str(self.data["name"])
            save(raw / "imagesTr" / f"{name}_0000.nii.gz", reference * 50.0 + np.indices(reference.shape)[0])
            save(raw / "labelsTr" / f"{name}.nii.gz", reference)
            for trainer in self.trainers:
                path = self.fold(trainer, i % self.folds) / "validation" / f"{name}.nii.gz"
                save(path, np.roll(reference, i, axis=2))


def save(path: Path, voxels: Any, spacing: tuple[float, float, float] = (1, 1, 1)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([*spacing, 1.0])), path)


def write_summary(path: Path, scores: Scores) -> None:
    """nnU-Net's summary.json with the values that the report reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cases = [
        {
            "metrics": {
                str(CLASSES[name]): {"Dice": math.nan if value is None else value, "FN": 1, "TP": 3}
                for name, value in values.items()
            },
            "prediction_file": f"/elsewhere/validation/{case}.nii.gz",
            "reference_file": f"/elsewhere/gt_segmentations/{case}.nii.gz",
        }
        for case, values in scores.items()
    ]
    mean = {
        str(value): {"Dice": float(np.mean([case["metrics"][str(value)]["Dice"] for case in cases]))}
        for value in CLASSES.values()
    }
    summary = {"foreground_mean": {"Dice": 0.5}, "mean": mean, "metric_per_case": cases}
    path.write_text(json.dumps(summary))


def write_log(path: Path, dice: list[float], first: int = 0) -> None:
    epochs = "".join(
        EPOCH.format(number=first + i, loss=round(-value, 4), dice=value, seconds=7.5) for i, value in enumerate(dice)
    )
    path.write_text(LOG.format(epochs=epochs))


def table(out: Path, *words: str) -> dict[str, dict[str, str]]:
    """A written CSV table whose name holds all words: first column -> column -> text."""
    found = [path for path in (out / "tables").iterdir() if all(word in path.name for word in words)]
    assert len(found) == 1, found
    with found[0].open(newline="") as file:
        return {row["network"]: row for row in csv.DictReader(file)}
