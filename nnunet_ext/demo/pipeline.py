"""Plan, preprocess, train, predict and evaluate, by nnU-Net's own commands."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext import cores
from nnunet_ext.demo import commands, plans, trainers
from nnunet_ext.demo.dataset import Dataset
from nnunet_ext.demo.errors import DemoError
from nnunet_ext.demo.progress import Reporter, Step
from nnunet_ext.demo.steps import Steps, key_of
from nnunet_ext.demo.trainers import Budget

FOLD = "0"


@dataclass(frozen=True)
class Run:
    """One network, trained and tested."""

    trainer: str
    """The trainer as the user knows it."""
    model: Path
    """nnU-Net's result folder of trainer, plans and configuration."""
    prediction: Path
    """Label maps of the test cases and nnU-Net's summary.json."""
    log: Path
    """Output of the training command."""
    train_seconds: float
    """Wall time of the training command: start, epochs and validation of the fold."""
    predict_seconds: float
    evaluate_seconds: float


class Pipeline:
    """nnU-Net's commands on one dataset, in the folders below `out`."""

    def __init__(
        self,
        dataset: Dataset,
        out: Path,
        device: str,
        budget: Budget,
        steps: Steps,
        reporter: Reporter,
        data_key: str,
        spacing: Sequence[float] | None = None,
    ) -> None:
        """Take `spacing` (mm, of 3D images) to resample to; None leaves that to nnU-Net."""
        self.dataset = dataset
        self.device = device
        self.budget = budget
        self.small = device != "cuda"
        """Whether to use the small plan, and no test-time mirroring."""
        self.plans = plans.SMALL if self.small else plans.STOCK
        self.configuration = "2d" if is_2d(dataset) else "3d_fullres"
        self._out = out
        self._steps = steps
        self._reporter = reporter
        self._spacing = [str(millimetres) for millimetres in spacing or ()]
        plan = {"data": data_key, "plans": self.plans, "sizes": repr(plans.SIZES), "spacing": self._spacing}
        self._plan_key = key_of(plan)

    @property
    def preprocessed(self) -> Path:
        """nnU-Net's folder of plans, splits and preprocessed cases."""
        return self._out / "nnUNet_preprocessed" / self.dataset.name

    @property
    def plans_file(self) -> Path:
        """The plans that both networks train with."""
        return self.preprocessed / f"{self.plans}.json"

    def plan(self) -> None:
        """Fingerprint, plan and preprocess; then make the plan small where there is no CUDA device."""
        arguments = ["nnUNetv2_plan_and_preprocess", "-d", self.dataset.identifier, "-c", self.configuration]
        arguments += ["-np", self._processes, "-npfp", self._processes, "--verify_dataset_integrity"]
        if self._spacing:
            arguments += ["-overwrite_target_spacing", *self._spacing]

        def action() -> None:
            with self._reporter.step(f"Plan and preprocess {self.dataset.name} ({self.configuration})"):
                # nnU-Net's planner needs at least one data augmentation worker.
                commands.run(arguments, self._environment(workers=1), self._log("plan_and_preprocess"))
            if not (self.preprocessed / f"{plans.STOCK}.json").is_file():
                raise DemoError(f"nnU-Net wrote no plans; see {self._log('plan_and_preprocess')}.")
            if self.small:
                plans.write_small(self.preprocessed, self.configuration)

        self._steps.run("plan", self._plan_key, [self.preprocessed], action)

    def run(self, trainer: str) -> Run:
        """Train `trainer` on the first fold, predict the test cases and evaluate them."""
        name = trainers.demo_name(trainer)
        model = self._out / "nnUNet_results" / self.dataset.name / f"{name}__{self.plans}__{self.configuration}"
        prediction = self._out / "predictions" / trainer
        common = ["-d", self.dataset.identifier, "-tr", name, "-p", self.plans, "-c", self.configuration]
        train = ["nnUNetv2_train", self.dataset.identifier, self.configuration, FOLD, "-tr", name, "-p", self.plans]
        train += ["-device", self.device]
        predict = ["nnUNetv2_predict", "-i", str(self.dataset.folder / "imagesTs"), "-o", str(prediction), *common]
        predict += ["-f", FOLD, "-device", self.device, "-npp", "1", "-nps", "1"]
        if self.small:
            predict.append("--disable_tta")
        evaluate = ["nnUNetv2_evaluate_folder", str(self.dataset.test_labels), str(prediction), "-np", "1"]
        evaluate += ["-djfile", str(self.dataset.folder / "dataset.json"), "-pfile", str(self.plans_file)]

        train_key = key_of({"plan": self._plan_key, "trainer": trainer, "device": self.device, "budget": self.budget})
        seconds = [
            self._command("train", train, trainer, train_key, [model]),
            self._command("predict", predict, trainer, train_key, [prediction]),
            self._command("evaluate", evaluate, trainer, train_key, []),
        ]
        return Run(trainer, model, prediction, self._log(f"train_{trainer}"), *seconds)

    def _command(self, verb: str, arguments: list[str], trainer: str, key: str, remove: list[Path]) -> float:
        name = f"{verb}_{trainer}"

        def action() -> None:
            training = verb == "train"
            total = float(self.budget.epochs) if training else None
            with self._reporter.step(f"{verb.capitalize()} {trainer}", total) as step:
                on_line = EpochLines(step, self.budget.epochs) if training else lambda _: None
                commands.run(arguments, self._environment(self._workers), self._log(name), on_line)

        return self._steps.run(name, key, remove, action)

    def _log(self, name: str) -> Path:
        return self._out / "logs" / f"{name}.log"

    @property
    def _processes(self) -> str:
        """Worker processes of nnU-Net's pools; each costs seconds to start, so small machines use few."""
        return str(max(1, min(4, cores.usable() // 2)))

    @property
    def _workers(self) -> int:
        """Data augmentation workers in training: none on a CPU, where they would take cores from the network."""
        return max(1, min(8, cores.usable() - 1)) if self.device == "cuda" else 0

    def _environment(self, workers: int) -> dict[str, str]:
        return {
            "nnUNet_raw": str(self._out / "nnUNet_raw"),
            "nnUNet_preprocessed": str(self._out / "nnUNet_preprocessed"),
            "nnUNet_results": str(self._out / "nnUNet_results"),
            "nnUNet_extTrainer": trainers.search_path(self._out / "trainers"),
            "nnUNet_def_n_proc": self._processes,
            "nnUNet_n_proc_DA": str(workers),
            # Compiling takes longer than it saves in so short a training, and needs a C compiler.
            "nnUNet_compile": "f",
            "nnUNet_wandb_enabled": "0",
            # Threads that wait for each other sleep. Spinning, they cost a busy machine several times the work.
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONUNBUFFERED": "1",
            "PYTORCH_ENABLE_MPS_FALLBACK": "1",
        }


class EpochLines:
    """Reads nnU-Net's training output and tells a step which epoch it is in."""

    def __init__(self, step: Step, epochs: int) -> None:
        self._step = step
        self._epochs = epochs
        self._epoch = 0
        self._dice = ""

    def __call__(self, line: str) -> None:
        """Take one line of output."""
        if match := re.search(r"Epoch (\d+)\s*$", line):
            self._epoch = int(match[1])
            self._step.advance(self._epoch, f"epoch {self._epoch + 1} of {self._epochs}{self._dice}")
        elif match := re.search(r"Pseudo dice \[(.*)\]", line):
            values = ", ".join(f"{float(value):.2f}" for value in re.findall(r"\d+\.\d+|nan", match[1]))
            self._dice = f", validation Dice {values}"
        elif "Training done" in line:
            self._step.advance(self._epochs, "validating the fold")


def is_2d(dataset: Dataset) -> bool:
    """Whether the images are single slices, for which nnU-Net plans no 3D configuration."""
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

    description = json.loads((dataset.folder / "dataset.json").read_text())
    label = next(path for path in sorted((dataset.folder / "labelsTr").iterdir()) if path.suffix != ".json")
    reader = determine_reader_writer_from_dataset_json(description, str(label), verbose=False)()
    segmentation, _ = reader.read_seg(str(label))
    return bool(segmentation.shape[1] == 1)
