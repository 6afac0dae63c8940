"""Measured memory of training steps against the estimates of `nnunet-ext plan`: writes results_DEVICE.json and .md.

    python benchmarks/memory/memory.py                  on the GPU if there is one, else on the CPU
    python benchmarks/memory/memory.py --device cpu

Each step runs in a process of its own. On a CPU: float32, what is alive between forward and backward pass and at the
most, counted operator by operator, and how far the process's resident memory rose. On a GPU: fp16 autocast with SGD,
two steps, the most that PyTorch allocated and reserved. No plan is the one that its estimate was traced with.
"""

import argparse
import datetime
import json
import multiprocessing
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunet_ext.planning.estimator import IMAGES, Estimator
from nnunet_ext.planning.memory import trace
from nnunet_ext.planning.planner import PLANNERS
from nnunet_ext.planning.training_step import Batch, run_step

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.planning.plans_of import architecture, padded  # not installed

MIB = 2**20

# (spacing, patch of the estimate, patch and batch of the measurement), and the features of the first stage
GRIDS: dict[str, list[tuple[Any, Any, Any, int, int]]] = {
    "cpu": [
        ((1, 1), (128, 128), (128, 96), 4, 16),
        ((1, 1), (256, 256), (192, 256), 2, 32),
        ((1, 1, 1), (48, 48, 48), (40, 48, 48), 2, 16),
        ((4, 1, 1), (12, 96, 96), (12, 80, 96), 2, 16),
    ],
    "cuda": [
        ((1, 1), (512, 512), (384, 512), 8, 32),
        ((1, 1), (256, 256), (192, 256), 32, 32),
        ((1, 1, 1), (128, 128, 128), (128, 96, 128), 2, 32),
        ((3, 1, 1), (40, 224, 192), (40, 192, 192), 2, 32),
    ],
}


def main() -> None:
    """Measure every network on every plan."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    rows = []
    for network in PLANNERS:
        for plan in GRIDS[arguments.device]:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                rows.append(pool.apply(measure, (network, plan, arguments.device)))
            print(line(rows[-1]), flush=True)  # noqa: T201 - a script
    report = {
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else f"CPU, {platform.machine()}",
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "fit": fit(rows),
        "rows": rows,
    }
    name = f"results_{arguments.device}"
    (arguments.out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    (arguments.out / f"{name}.md").write_text("\n".join(markdown(report)) + "\n")


def measure(network: str, plan: tuple[Any, Any, Any, int, int], device: str) -> dict[str, Any]:
    """One row: estimated and measured bytes of one network and plan."""
    spacing, traced, patch, images, features = plan
    arch = architecture(spacing, traced, base_features=features)
    estimator = Estimator(PLANNERS[network].trainer, channels=1, classes=3)
    batch = Batch(IMAGES[len(patch)], 1, padded(spacing, traced), estimator.scales(arch))
    memory = trace(lambda: estimator.build(arch), batch, device)
    row = {"network": network, "patch": "x".join(map(str, patch)), "batch": images, "parameters": memory.parameters}
    real = estimator.build(arch).to(device)
    image, targets = Batch(images, 1, patch, batch.scales).tensors(device)
    image, targets = image.normal_(), [target.zero_() for target in targets]
    if device == "cpu":
        before = _resident("VmRSS")
        step = run_step(real, image, targets)
        return row | {
            "estimated": memory.kept.bytes(images, patch),
            "measured": step.kept,
            "estimated_peak": memory.step(images, patch),
            "measured_peak": step.peak,
            "resident": _resident("VmHWM") - before,
        }
    optimizer = torch.optim.SGD(real.parameters(), 1e-2, momentum=0.99, nesterov=True)
    for _ in range(2):
        optimizer.zero_grad()
        with torch.autocast("cuda"):
            run_step(real, image, targets)
        optimizer.step()
    free, total = torch.cuda.mem_get_info()
    return row | {
        "estimated": memory.training(images, patch),
        "measured": total - free,
        "allocated": torch.cuda.max_memory_allocated(),
        "reserved": torch.cuda.max_memory_reserved(),
    }


def fit(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Measured = `factor` * estimated + `offset`, by least squares; and the largest relative error of an estimate."""
    estimated, measured = (np.array([row[key] for row in rows], float) for key in ("estimated", "measured"))
    factor, offset = np.polyfit(estimated, measured, 1)
    return {
        "factor": float(factor),
        "offset_mib": float(offset / MIB),
        "largest_error": float(np.abs(estimated / measured - 1).max()),
    }


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    cells = [row["network"], row["patch"], row["batch"]]
    cells += [f"{row[key] / MIB:,.0f}" for key in row if key not in ("network", "patch", "batch", "parameters")]
    return "| " + " | ".join(map(str, [*cells, f"{row['estimated'] / row['measured'] - 1:+.1%}"])) + " |"


def markdown(report: dict[str, Any]) -> list[str]:
    """The report as a page."""
    rows = report["rows"]
    keys = [key for key in rows[0] if key != "parameters"]
    found = report["fit"]
    return [
        f"# {report['device']}, torch {report['versions']['torch']}, {report['date']}",
        "",
        f"MiB. Fit: measured = {found['factor']:.3f} estimated {found['offset_mib']:+.1f} MiB; "
        f"largest error of an estimate {found['largest_error']:.1%}.",
        "",
        "| " + " | ".join([*keys, "error"]) + " |",
        "|" + " --- |" * (len(keys) + 1),
        *map(line, rows),
    ]


def _resident(key: str) -> int:
    """The process's resident memory now (VmRSS) or at its most (VmHWM), in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{key}:")[1].split()[0]) * 1024


if __name__ == "__main__":
    main()
