"""Does every trainer learn? Dice of each one and of stock nnU-Net, on the same data, plan, seed and small budget.

    python benchmarks/learning/learning.py --hippocampus RAW_DATASET --fundus RAW_DATASET --work FOLDER

A RAW_DATASET is a folder in nnU-Net's raw format; without labelled test images every fifth case is held out, as in
`nnunet-ext demo`, whose steps these are. Everything runs on the CPU through nnU-Net's own commands, some trainings at
a time with one thread each. A second call continues where the first one ended. Writes results.json, results.md and
results.png beside this file.
"""

import argparse
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from statistics import mean, stdev

from matplotlib.figure import Figure
from rich.console import Console

from nnunet_ext.catalogue import ENTRIES
from nnunet_ext.demo import main as demo
from nnunet_ext.demo import results, trainers
from nnunet_ext.demo.commands import find
from nnunet_ext.demo.pipeline import Pipeline
from nnunet_ext.demo.progress import Reporter
from nnunet_ext.demo.report import case_mean, show_dice
from nnunet_ext.demo.results import Network, Results
from nnunet_ext.demo.steps import Steps
from nnunet_ext.demo.trainers import Budget
from nnunet_ext.files import write_text

HERE = Path(__file__).parent
BUDGET = Budget(epochs=20, iterations=20, validation_iterations=1, seed=0)
BATCH = 2


@dataclass(frozen=True)
class Task:
    """What the plan of a data set is made small with."""

    patch: list[int]
    spacing: tuple[float, ...] | None = None
    """Millimetres; None leaves it to nnU-Net."""


TASKS = {"hippocampus": Task([16, 16, 16], spacing=(2.0, 2.0, 2.0)), "fundus": Task([96, 96])}
TRAINERS = [trainers.STOCK, *(entry.trainer for entry in ENTRIES)]

MORE = """

# nnU-Net asks for as many threads as there are cores; here each core has a training of its own.
torch.set_num_threads(1)


def without_mirroring(trainer):
    configure = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size

    def configured(self):
        rotation, dummy_2d, initial_patch_size, _ = configure(self)
        self.inference_allowed_mirroring_axes = None
        return rotation, dummy_2d, initial_patch_size, None

    trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size = configured


for trainer in [value for name, value in vars().items() if name.endswith("_demo")]:
    without_mirroring(trainer)
"""


def learn(task: Task, data: Path, work: Path, jobs: int, reporter: Reporter) -> Results:
    """Train, predict and evaluate all trainers on one data set."""
    steps = Steps(work)
    write_trainers(work / "trainers")
    dataset, key = demo.take_data(str(data), work, steps, reporter)
    pipeline = Pipeline(dataset, work, "cpu", BUDGET, steps, reporter, key, task.spacing)
    pipeline.plan()
    shrink(pipeline, task.patch)
    with ThreadPoolExecutor(jobs) as pool:
        # The largest first, so that none is left alone at the end.
        runs = {name: pool.submit(pipeline.run, name) for name in sorted(TRAINERS, key=size, reverse=True)}
    return results.collect(pipeline, [runs[name].result() for name in TRAINERS])


def size(trainer: str) -> int:
    """Parameters of a trainer's network on the catalogue's plan, in 2D and 3D together."""
    entries = [entry for entry in ENTRIES if entry.trainer == trainer]
    return sum((entry.parameters_2d or 0) + (entry.parameters_3d or 0) for entry in entries)


def write_trainers(folder: Path) -> None:
    """The demo's short trainers, without mirroring: in so short a time front and back are too much to tell apart."""
    trainers.write(folder, TRAINERS, BUDGET, mirroring=False)
    file = folder / trainers.FILE
    write_text(file, file.read_text() + MORE)


def shrink(pipeline: Pipeline, patch: list[int]) -> None:
    """Make patch and batch of the demo's plan smaller: for the same time more batches, which teach more."""
    plans = json.loads(pipeline.plans_file.read_text())
    plans["configurations"][pipeline.configuration] |= {"batch_size": BATCH, "patch_size": patch}
    write_text(pipeline.plans_file, json.dumps(plans, indent=4))


@dataclass(frozen=True)
class Machine:
    """What the numbers were made with."""

    date: str
    commit: str
    device: str
    versions: dict[str, str]


def machine() -> Machine:
    """Read the machine and the state of the checkout."""
    describe = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    return Machine(date.today().isoformat(), commit, results.device_name("cpu"), results.versions())


def case_means(network: Network) -> list[float]:
    """Mean foreground Dice of every test case."""
    return [value for case in network.case_dice if (value := case_mean(network, case)) is not None]


def table(found: Results) -> str:
    """One data set as a Markdown table, in the order of the catalogue."""
    tissues = list(found.labels)
    lines = [
        f"| trainer | parameters | {' | '.join(tissues)} | mean ± deviation over cases |",
        f"|---|---:|{'---:|' * (len(tissues) + 1)}",
    ]
    for network in found.networks:
        means = case_means(network)
        dice = " | ".join(show_dice(network.dice[tissue]) for tissue in tissues)
        name = "nnU-Net's own (nnUNetTrainer)" if network.is_stock else network.trainer
        lines.append(f"| {name} | {network.parameters / 1e6:.2f} M | {dice} | {mean(means):.3f} ± {stdev(means):.3f} |")
    return "\n".join(lines)


def write_report(everything: list[Results], made: Machine) -> None:
    """Write the tables and the picture."""
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    parts = [
        "# Dice after the same small budget",
        "Written by learning.py; [README.md](README.md) says what it does and what the numbers do not tell.",
        f"{made.date}, commit {made.commit}, {made.device}; {versions}.",
        "![Dice of every trainer, a point for each test case](results.png)",
    ]
    for found in everything:
        patch = " x ".join(map(str, found.patch_size))
        parts += [
            f"## {found.title}, {found.configuration}",
            f"{found.epochs * found.iterations} batches of {found.batch_size} patches of {patch}, seed {BUDGET.seed}; "
            f"{found.training_cases} training cases, {found.test_cases} test cases. {found.unseen} "
            f"Images: {found.source}.",
            table(found),
        ]
    write_text(HERE / "results.md", "\n\n".join(parts) + "\n")
    draw(everything, HERE / "results.png")


def draw(everything: list[Results], target: Path) -> None:
    """A line for each trainer, with a point for each test case and a bar at their mean."""
    figure = Figure(figsize=(5.2 * len(everything), 0.34 * len(TRAINERS) + 1.1), layout="constrained")
    for axes, found in zip(figure.subplots(1, len(everything), sharey=True, squeeze=False)[0], everything, strict=True):
        for line, network in enumerate(reversed(found.networks)):
            means = case_means(network)
            colour = "#d1700a" if network.is_stock else "#0b5fa5"
            axes.scatter(means, [line] * len(means), s=14, alpha=0.35, color=colour, linewidths=0)
            axes.plot([mean(means)] * 2, [line - 0.35, line + 0.35], color=colour, linewidth=2.5)
        axes.set_yticks(range(len(TRAINERS)), [network.trainer for network in reversed(found.networks)], fontsize=8)
        axes.set(
            xlim=(0, 1), xlabel="mean foreground Dice of a test case", title=f"{found.title}, {found.configuration}"
        )
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=110)


def main() -> None:
    """Run everything and write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in TASKS:
        parser.add_argument(f"--{name}", type=Path, required=True, help="folder in nnU-Net's raw format")
    parser.add_argument("--work", type=Path, required=True, help="folder for nnU-Net's files and the trained models")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings at a time (default: cores)")
    arguments = parser.parse_args()
    find("nnUNetv2_train")
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    made = machine()
    # Plain lines, also on a terminal: trainings run side by side.
    reporter = Reporter(Console(force_terminal=False, highlight=False, markup=False, soft_wrap=True))
    everything = [
        learn(task, vars(arguments)[name], arguments.work.resolve() / name, arguments.jobs, reporter)
        for name, task in TASKS.items()
    ]
    content = {"machine": asdict(made), "datasets": [asdict(found) for found in everything]}
    write_text(HERE / "results.json", json.dumps(content, indent=1) + "\n")
    write_report(everything, made)


if __name__ == "__main__":
    main()
