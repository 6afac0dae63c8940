"""Plans of every network for the benchmarks' geometries and usual GPUs: writes plans.csv beside this file.

    python benchmarks/planning/planning.py

The geometries are the fingerprints of tests/planning. Nothing is trained or measured; the memory is the estimate of
`nnunet-ext plan`. It ends with an error if a plan is over its target, or uses less than 80 % of it although the patch
is smaller than the image.
"""

import contextlib
import csv
import io
import os
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.planning import datasets  # not installed

TARGETS = (8, 11, 24, 40, 80)
COLUMNS = ("network", "dataset", "gpu_gib", "configuration", "patch", "batch", "image", "parameters", "training_gib")


def main() -> int:
    """Plan everything; 1 if a plan breaks a promise."""
    broken = 0
    with tempfile.TemporaryDirectory() as folder:
        raw, preprocessed = Path(folder, "raw"), Path(folder, "preprocessed")
        os.environ |= {"nnUNet_raw": str(raw), "nnUNet_preprocessed": str(preprocessed), "nnUNet_results": folder}
        names = {
            name: datasets.write(datasets.load(name), raw, preprocessed, number)
            for number, name in enumerate(datasets.NAMES, 1)
        }
        with Path(__file__).with_name("plans.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            for row in rows(names):
                covered = row.pop("covered")
                writer.writerow(row)
                file.flush()
                used = row["training_gib"] / row["gpu_gib"]
                if used > 1 or (used < 0.8 and not covered):
                    print("broken:", row, file=sys.stderr)  # noqa: T201 - a script
                    broken += 1
    return int(broken > 0)


def rows(names: dict[str, str]) -> Any:
    """One row per configuration; imports nnU-Net, which reads its folders' names from the environment."""
    from nnunet_ext.planning.memory import GIB
    from nnunet_ext.planning.planner import PLANNERS

    estimator = None
    for network, dataset, target in tqdm([*product(PLANNERS, names, TARGETS)], unit="plan", disable=None):
        with contextlib.redirect_stdout(io.StringIO()):
            planner = PLANNERS[network](names[dataset], target)
            if target != TARGETS[0] and estimator is not None:  # topologies of smaller targets come again
                planner.estimator = estimator
            estimator = planner.estimator
            planner.plan_experiment()
        for name, plan in planner.plans["configurations"].items():
            if "patch_size" not in plan:
                continue
            patch, image = plan["patch_size"], plan["median_image_size_in_voxels"]
            memory = planner.estimator.memory(plan["architecture"], patch, plan["batch_size"])
            yield {
                "network": network,
                "dataset": dataset,
                "gpu_gib": target,
                "configuration": name,
                "patch": "x".join(map(str, patch)),
                "batch": plan["batch_size"],
                "image": "x".join(str(round(side)) for side in image),
                "parameters": memory.parameters,
                "training_gib": round(memory.training(plan["batch_size"], patch) / GIB, 2),
                "covered": all(side >= size for side, size in zip(patch, image, strict=True)),
            }


if __name__ == "__main__":
    sys.exit(main())
