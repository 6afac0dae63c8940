"""A matrix on the real hippocampus, with trainers of the user's own that say what they do."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from .stock import TINY, StockNnUNet, script

# First weights are always the same and the batches of an epoch depend on its number alone, so that a training that was
# killed in the middle of an epoch and continued from the end of the one before must give the same network as one that
# was not.
TRAINERS = (
    TINY
    + """
import json
import os
import random
import numpy

class Traced(Tiny):
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 5

    def initialize(self):
        torch.manual_seed(0)  # of the first weights
        super().initialize()

    def trace(self, what):
        line = {"fold": self.output_folder, "pid": os.getpid(), "time": time.time(), "what": what,
                "epoch": self.current_epoch, "gpu": os.environ.get("CUDA_VISIBLE_DEVICES")}
        with open(os.environ["TRACE"], "a") as file:
            file.write(json.dumps(line) + "\\n")

    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        for seed in (random.seed, numpy.random.seed, torch.manual_seed):
            seed(self.current_epoch)

    def train_step(self, batch):
        self.trace("train")
        time.sleep(float(os.environ["DAWDLE"]))
        return super().train_step(batch)

    def perform_actual_validation(self, save_probabilities=False):
        self.trace("validate")
        super().perform_actual_validation(save_probabilities)
        self.trace("end")

class nnUNetTrainerTraced_5epochs(Traced, nnUNetTrainer): pass
class nnUNetTrainerNoMambaTraced_5epochs(Traced, trainers.nnUNetTrainerLKMUNetNoMamba): pass
"""
)
SECONDS_TO_WAIT = 600
"""A busy machine takes minutes to start a training; a test that works never waits so long."""
STOCK, OURS = "nnUNetTrainerTraced", "nnUNetTrainerNoMambaTraced"


class Matrix:
    """`nnunet-ext bench` on the hippocampus, with results of its own."""

    def __init__(self, nnunet: StockNnUNet, folder: Path, trainers: list[str], dawdle: float):
        self._nnunet = nnunet
        self.folder = folder / "benchmark"
        self.results = folder / "nnUNet_results"
        self.trainers = trainers
        self.trace = folder / "trace.jsonl"
        own = folder / "trainers"
        for path in (self.results, own):
            path.mkdir(parents=True)
        (own / "traced_trainers.py").write_text(TRAINERS)
        self.environment: dict[str, str] = nnunet.environment | {
            "nnUNet_results": str(self.results),
            "nnUNet_extTrainer": str(own),
            "nnUNet_n_proc_DA": "0",
            "TRACE": str(self.trace),
            "DAWDLE": str(dawdle),
        }
        self._started: list[subprocess.Popen[bytes]] = []
        datasets = ["--datasets", "4", "--trainers", *trainers, "--folds", "0", "1", "--budget", "5epochs"]
        assert "budget 5epochs" in self("init", *datasets)

    def __call__(self, command: str, *arguments: str, code: int = 0) -> str:
        """Run a command to its end; returns what it printed."""
        done = subprocess.run(self._words(command, *arguments), env=self.environment, capture_output=True, text=True)
        assert done.returncode == code, (
            f"{command} {arguments} left with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
        return done.stdout + done.stderr

    def start(self, command: str, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start a command in a session of its own, its output in a file."""
        words = self._words(command, *arguments)
        with (self.folder / "started.log").open("ab") as log:
            process = subprocess.Popen(words, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        self._started.append(process)
        return process

    def log(self) -> str:
        """What the started commands have printed."""
        return (self.folder / "started.log").read_text()

    def __enter__(self) -> "Matrix":
        return self

    def __exit__(self, *_: object) -> None:
        """End what a test that failed has left running."""
        pids = [process.pid for process in self._started] + [event["pid"] for event in self.events()]
        for pid in pids:
            command = Path(f"/proc/{pid}/cmdline")
            if command.exists() and b"nnunet-ext" in command.read_bytes():
                os.kill(pid, signal.SIGKILL)

    def _words(self, command: str, *arguments: str) -> list[str]:
        return [script("nnunet-ext"), "bench", command, str(self.folder), *arguments]

    def events(self) -> list[dict[str, Any]]:
        """What the trainers have said so far."""
        return [json.loads(line) for line in self.trace.read_text().splitlines()] if self.trace.exists() else []

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool], process: "subprocess.Popen[bytes]") -> dict[str, Any]:
        """Wait until the last that is known of a fold is wanted; returns it."""
        deadline = time.monotonic() + SECONDS_TO_WAIT
        while time.monotonic() < deadline and process.poll() is None:
            last = {event["fold"]: event for event in self.events()}
            for event in last.values():
                if wanted(event):
                    return event
            time.sleep(0.1)
        raise AssertionError(f"no such event:\n{self.events()}\n{self.log()}")

    def fold(self, trainer: str, fold: int) -> Path:
        """The folder of a fold."""
        model = f"{trainer}_5epochs__nnUNetPlans__3d_fullres"
        return self.results / "Dataset004_Hippocampus" / model / f"fold_{fold}"

    def train_without_a_break(self, fold: Path) -> Path:
        """The fold once more, by nnU-Net's own command in other folders; returns its folder there."""
        results = self.folder.parent / "without_a_break"
        results.mkdir()
        trainer = fold.parent.name.split("__")[0]
        command = ["nnUNetv2_train", 4, "3d_fullres", fold.name[-1], "-tr", trainer, "-device", "cpu"]
        self._nnunet(*command, **self.environment | {"nnUNet_results": str(results), "DAWDLE": "0"})
        return results / fold.relative_to(self.results)

    def check_complete(self) -> None:
        """Every fold is done and has its record, and nobody is at it any more."""
        lines = self("status").splitlines()
        assert lines[-1] == f"{2 * len(self.trainers)} folds: {2 * len(self.trainers)} done"
        for trainer in self.trainers:
            for number in range(2):
                fold = self.fold(trainer, number)
                assert len(json.loads((fold / "validation" / "summary.json").read_text())["metric_per_case"]) == 2
                job = json.loads((fold / "nnunet_ext_job.json").read_text())
                assert job["seconds"] > 0 < job["seconds_per_epoch"]
                assert job["peak_rss_bytes"] > 2**27
                assert job["peak_gpu_bytes"] is None
                assert "CPU" in job["device"]
                assert {"nnunetv2", "torch"} <= job["versions"].keys()
                assert not list(fold.glob("*.lock*"))

    def resumed(self, trainer: str, fold: int) -> int:
        """How often the training of a fold went on from a checkpoint."""
        resumed: int = json.loads((self.fold(trainer, fold) / "nnunet_ext_job.json").read_text())["resumed"]
        return resumed

    def check_never_together(self) -> None:
        """No two processes trained a fold at the same time, and no two trainings had the same GPU."""
        spans = self._spans()
        for one, other in pairwise(sorted(spans, key=lambda span: (span["fold"], span["begin"]))):
            assert one["fold"] != other["fold"] or one["end"] < other["begin"], (one, other)
        for one, other in pairwise(sorted((s for s in spans if s["gpu"]), key=lambda s: (s["gpu"], s["begin"]))):
            assert one["gpu"] != other["gpu"] or one["end"] < other["begin"], (one, other)

    def _spans(self) -> list[dict[str, Any]]:
        spans: dict[tuple[str, int], dict[str, Any]] = {}
        for event in self.events():
            span = spans.setdefault((event["fold"], event["pid"]), event | {"begin": event["time"]})
            span["end"] = event["time"]
        return list(spans.values())


def dice(fold: Path) -> list[dict[str, Any]]:
    """The numbers of every validation case."""
    cases = json.loads((fold / "validation" / "summary.json").read_text())["metric_per_case"]
    return [{Path(case["prediction_file"]).name: case["metrics"]} for case in cases]


def kill(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL the process alone, not what it has started."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
