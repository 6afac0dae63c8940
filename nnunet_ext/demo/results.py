"""What the trained networks reached, read from the files that nnU-Net wrote."""

import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.demo import mni152, trainers
from nnunet_ext.demo.errors import DemoError
from nnunet_ext.demo.pipeline import Pipeline, Run
from nnunet_ext.evaluation.labels import foreground
from nnunet_ext.versions import versions

PACKAGES = ("nnunet-ext", "nnunetv2", "torch", "dynamic-network-architectures", "numba", "nilearn")


@dataclass(frozen=True)
class Network:
    """One network's numbers. Dice is between 0 and 1, None where neither truth nor prediction has the tissue."""

    trainer: str
    parameters: int
    dice: dict[str, float | None]
    """Mean over the test cases, by tissue."""
    mean_dice: float
    """nnU-Net's foreground mean over the test cases; NaN if no tissue occurs."""
    case_dice: dict[str, dict[str, float | None]]
    """By test case, then by tissue."""
    validation_dice: float
    """nnU-Net's foreground mean over the validation cases of the fold."""
    epoch_seconds: float
    """Sum of the epochs."""
    train_seconds: float
    """The whole training command, with its start and the validation of the fold."""
    predict_seconds: float
    evaluate_seconds: float
    train_loss: list[float]
    validation_loss: list[float]
    pseudo_dice: list[float]
    """nnU-Net's running foreground Dice on validation patches, per epoch."""

    @property
    def is_stock(self) -> bool:
        """Whether this is nnU-Net's own network."""
        return self.trainer == trainers.STOCK


@dataclass(frozen=True)
class Results:
    """Everything that the report says."""

    title: str
    dataset: str
    source: str
    unseen: str
    one_head: bool
    """Whether all cases come from one averaged head."""
    labels: dict[str, list[int]]
    """Tissue -> label values; nnU-Net's regions have several."""
    training_cases: int
    validation_cases: int
    test_cases: int
    configuration: str
    plans: str
    small_plan: bool
    patch_size: list[int]
    batch_size: int
    features: list[int]
    epochs: int
    iterations: int
    mirroring: bool
    """Whether the test cases were predicted with test-time mirroring."""
    device: str
    versions: dict[str, str]
    seconds: float
    """From the start of training to the end of evaluation, both networks."""
    networks: list[Network]


def collect(pipeline: Pipeline, runs: list[Run]) -> Results:
    """Read the results of `runs`; DemoError if a file that a finished step should have left is not there."""
    description = json.loads((pipeline.dataset.folder / "dataset.json").read_text())
    labels = foreground(description["labels"])
    plan = json.loads(pipeline.plans_file.read_text())["configurations"][pipeline.configuration]
    fold = json.loads((pipeline.preprocessed / "splits_final.json").read_text())[0]
    try:
        networks = [_network(run, labels, description["file_ending"]) for run in runs]
    except (OSError, KeyError, ValueError) as error:
        raise DemoError(f"A result of nnU-Net is missing or unreadable ({error}); use a new --out folder.") from error
    return Results(
        title=pipeline.dataset.title,
        dataset=pipeline.dataset.name,
        source=pipeline.dataset.source,
        unseen=pipeline.dataset.unseen,
        one_head=pipeline.dataset.name == mni152.NAME,
        labels=labels,
        training_cases=len(fold["train"]),
        validation_cases=len(fold["val"]),
        test_cases=len(networks[0].case_dice),
        configuration=pipeline.configuration,
        plans=pipeline.plans,
        small_plan=pipeline.small,
        patch_size=plan["patch_size"],
        batch_size=plan["batch_size"],
        features=plan["architecture"]["arch_kwargs"]["features_per_stage"],
        epochs=pipeline.budget.epochs,
        iterations=pipeline.budget.iterations,
        mirroring=not pipeline.small,
        device=device_name(pipeline.device),
        versions=versions(PACKAGES),
        seconds=sum(run.train_seconds + run.predict_seconds + run.evaluate_seconds for run in runs),
        networks=networks,
    )


@dataclass(frozen=True)
class Summary:
    """Dice values of one of nnU-Net's summary.json files."""

    mean: float
    """nnU-Net's foreground mean, NaN if no tissue occurs."""
    by_tissue: dict[str, float | None]
    by_case: dict[str, dict[str, float | None]]


def read_summary(path: Path, labels: dict[str, list[int]], ending: str) -> Summary:
    """Read a summary.json of images whose file names end with `ending`."""
    summary = json.loads(path.read_text())

    def by_tissue(metrics: dict[str, dict[str, float]]) -> dict[str, float | None]:
        # Keys are "1" for a label and "(1, 2)" for a region.
        found = {tuple(map(int, re.findall(r"\d+", key))): values["Dice"] for key, values in metrics.items()}
        return {name: _number(found[tuple(value)]) for name, value in labels.items()}

    by_case = {
        Path(case["reference_file"]).name.removesuffix(ending): by_tissue(case["metrics"])
        for case in summary["metric_per_case"]
    }
    mean = _number(summary["foreground_mean"]["Dice"])
    return Summary(math.nan if mean is None else mean, by_tissue(summary["mean"]), by_case)


def device_name(device: str) -> str:
    """The device in words."""
    import torch

    if device == "cuda":
        return str(torch.cuda.get_device_name())
    return "Apple GPU" if device == "mps" else f"CPU with {os.cpu_count()} cores"


def _network(run: Run, labels: dict[str, list[int]], ending: str) -> Network:
    import torch

    fold = run.model / "fold_0"
    test = read_summary(run.prediction / "summary.json", labels, ending)
    validation = read_summary(fold / "validation" / "summary.json", labels, ending)
    # The file is our own: nnU-Net wrote it a minute ago. Its log holds NumPy numbers, which the safe mode refuses.
    log = torch.load(fold / "checkpoint_final.pth", map_location="cpu", weights_only=False)["logging"]
    starts, ends = log["epoch_start_timestamps"], log["epoch_end_timestamps"]
    return Network(
        trainer=run.trainer,
        parameters=_parameters(run.log),
        dice=test.by_tissue,
        mean_dice=test.mean,
        case_dice=test.by_case,
        validation_dice=validation.mean,
        epoch_seconds=float(sum(end - start for start, end in zip(starts, ends, strict=False))),
        train_seconds=run.train_seconds,
        predict_seconds=run.predict_seconds,
        evaluate_seconds=run.evaluate_seconds,
        train_loss=[float(value) for value in log["train_losses"]],
        validation_loss=[float(value) for value in log["val_losses"]],
        pseudo_dice=[float(value) for value in log["mean_fg_dice"]],
    )


def _parameters(log: Path) -> int:
    match = re.search(re.escape(trainers.PARAMETERS) + r"(\d+)", log.read_text(encoding="utf-8"))
    if match is None:
        raise ValueError(f"{log} does not say how many parameters the network has")
    return int(match[1])


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
