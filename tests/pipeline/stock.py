"""nnU-Net's stock commands, run as a user runs them: subprocesses with folders of their own."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_ext.catalogue import ENTRIES

from ..plans import topology

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

# As a user would write them: trainers of ours with a budget for tests, in a folder of the user's own.
TINY = """
import os
import time
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunet_ext import trainers

class Tiny:
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 1, 3, 1
        self.save_every = 1

    def initialize(self):
        torch.manual_seed(0)  # the weights at least are the same in every run
        super().initialize()

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self):
        rotation, dummy_2d, initial_patch_size, _ = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = (0,)  # two predictions per tile, not eight
        return rotation, dummy_2d, initial_patch_size, (0,)

class Long(Tiny):
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch = 3, 20
        self.save_every = 50

    def train_step(self, batch):
        time.sleep(0.25)  # an epoch of five seconds and more, so that a signal after two falls into it
        return super().train_step(batch)

class TwoEpochs(Tiny):
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 2

    def train_step(self, batch):
        if self.current_epoch == 1 and "DAWDLE" in os.environ:
            time.sleep(5)  # the test that kills this run may take its time
        return super().train_step(batch)

class nnUNetTrainerLKMUNetLong(Long, trainers.nnUNetTrainerLKMUNet): pass
"""
BUDGETS = ("Tiny", "TwoEpochs")
USER_TRAINERS = TINY + "".join(
    f"class {entry.trainer}{budget}({budget}, trainers.{entry.trainer}): pass\n"
    for entry in ENTRIES
    for budget in BUDGETS
)


class StockNnUNet:
    """nnU-Net's folders in `folder`, and its commands on them."""

    def __init__(self, folder: Path):
        self.raw, self.preprocessed, self.results = (folder / f"nnUNet_{n}" for n in ("raw", "preprocessed", "results"))
        self.folder = folder
        trainers = folder / "user_trainers"
        for path in (self.raw, self.preprocessed, self.results, trainers):
            path.mkdir(parents=True, exist_ok=True)
        (trainers / "tiny_trainers.py").write_text(USER_TRAINERS)
        self.environment = {
            **os.environ,
            "nnUNet_raw": str(self.raw),
            "nnUNet_preprocessed": str(self.preprocessed),
            "nnUNet_results": str(self.results),
            "nnUNet_extTrainer": str(trainers),
            "nnUNet_def_n_proc": "1",
            "nnUNet_n_proc_DA": "1",
        }

    def __call__(self, command: str, *arguments: object, fails: bool = False, **environment: str | None) -> str:
        """Run a command to its end; returns what it printed, after checking that it went well (or not)."""
        variables = {name: value for name, value in (self.environment | environment).items() if value is not None}
        done = subprocess.run(
            [script(command), *map(str, arguments)],
            env=variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
        )
        assert (done.returncode != 0) == fails, f"{command} {arguments} left with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def start(self, command: str, *arguments: object) -> "subprocess.Popen[str]":
        """Start a command in a process group of its own, its output in a pipe."""
        return subprocess.Popen(
            [script(command), *map(str, arguments)],
            env=self.environment | {"PYTHONUNBUFFERED": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @staticmethod
    def read_until(process: "subprocess.Popen[str]", text: str) -> list[str]:
        """Read what a started command prints until a line holds `text`."""
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if text in line:
                return lines
        raise AssertionError(f"the command ended without printing {text!r}:\n{''.join(lines)}")

    def train(self, dataset: int, configuration: str, fold: int | str, trainer: str, *more: object) -> str:
        """`nnUNetv2_train` on the CPU."""
        return self("nnUNetv2_train", dataset, configuration, fold, "-tr", trainer, "-device", "cpu", *more)

    def plan(self, dataset: int, configuration: str, patch: tuple[int, ...], features: list[int]) -> None:
        """Plan and preprocess with the stock command, then make the network small enough for a CPU."""
        self(
            "nnUNetv2_plan_and_preprocess",
            *("-d", dataset, "-c", configuration, "-np", 1, "-npfp", 1, "--verify_dataset_integrity"),
        )
        self.edit_plans(dataset, lambda plans: shrink(plans["configurations"][configuration], patch, features))

    def edit_plans(self, dataset: int, edit: Callable[[dict[str, Any]], None]) -> None:
        """Change the plans file of a data set."""
        file = next(self.preprocessed.glob(f"Dataset{dataset:03d}_*")) / "nnUNetPlans.json"
        plans = json.loads(file.read_text())
        edit(plans)
        file.write_text(json.dumps(plans))

    def predict(self, dataset: int, configuration: str, fold: int, trainer: str) -> Path:
        """`nnUNetv2_predict` of the test images; returns the folder of the predictions."""
        images = next(self.raw.glob(f"Dataset{dataset:03d}_*")) / "imagesTs"
        predicted = self.folder / f"predicted_{dataset}_{configuration}_{trainer}"
        model = ["-d", dataset, "-c", configuration, "-f", fold, "-tr", trainer]
        self("nnUNetv2_predict", "-i", images, "-o", predicted, *model, "-device", "cpu", "-npp", 1, "-nps", 1)
        return predicted

    def model(self, trainer: str, configuration: str) -> Path:
        """The folder of a trained model."""
        return next(self.results.glob(f"Dataset*/{trainer}__nnUNetPlans__{configuration}"))


def shrink(configuration: dict[str, Any], patch: tuple[int, ...], features: list[int]) -> None:
    """Make a planned configuration small, with the topology that nnU-Net gives this patch."""
    strides, kernels, padded = topology(tuple(configuration["spacing"]), patch)
    n_stages = len(strides)
    configuration["patch_size"] = list(padded)
    configuration["batch_size"] = 2
    configuration["architecture"]["arch_kwargs"] |= {
        "n_stages": n_stages,
        "features_per_stage": features[:n_stages],
        "strides": strides,
        "kernel_sizes": kernels,
        "n_conv_per_stage": [1] * n_stages,
        "n_conv_per_stage_decoder": [1] * (n_stages - 1),
    }


def script(command: str) -> str:
    """The command as it was installed beside this Python."""
    found = shutil.which(command, path=sysconfig.get_path("scripts"))
    assert found, f"{command} is not installed beside {sys.executable}"
    return found


def real_dataset(name: str) -> Path:
    """A small real data set that lies beside the repository, or skip."""
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"needs the real images in {folder}, which are not part of the repository")
    return folder


def copy_cases(source: Path, target: Path, n_train: int, n_test: int) -> None:
    """Copy the first cases of a raw data set for training, and the next ones for testing."""
    description = json.loads((source / "dataset.json").read_text())
    ending = description["file_ending"]
    labels = sorted((source / "labelsTr").glob(f"*{ending}"))
    for folder in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        (target / folder).mkdir(parents=True)
    for i, label in enumerate(labels[: n_train + n_test]):
        part = "Tr" if i < n_train else "Ts"
        shutil.copy(label, target / f"labels{part}")
        for image in (source / "imagesTr").glob(f"{label.name.removesuffix(ending)}_*{ending}"):
            shutil.copy(image, target / f"images{part}")
    (target / "dataset.json").write_text(json.dumps(description | {"numTraining": n_train}))


def relabel(source: Path, target: Path, labels: dict[str, Any], ignored: int) -> None:
    """Copy a raw data set of NIfTI files, with other `labels` in dataset.json and a slab of `ignored` in each map."""
    shutil.copytree(source, target)
    reader = SimpleITKIO()
    for file in target.glob("labels*/*.nii.gz"):
        segmentation, properties = reader.read_seg(str(file))
        segmentation = segmentation[0].astype(np.uint8)
        segmentation[: segmentation.shape[0] // 5] = ignored
        reader.write_seg(segmentation, str(file), properties)
    description = json.loads((target / "dataset.json").read_text())
    (target / "dataset.json").write_text(json.dumps(description | labels))
