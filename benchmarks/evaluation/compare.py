"""HD95 of a CT with two organs: ours against medpy, and surface Dice against surface-distance, in one run.

`python benchmarks/evaluation/compare.py` writes compare.json. Every contestant has a process of its own, so that its
peak memory is its own; times are CPU time, which depends less on the machine's other work than seconds do.
"""

import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.evaluation.case import Case, Mask
from nnunet_ext.evaluation.labels import Labels
from nnunet_ext.evaluation.metrics import distance, surfels

SHAPE, SPACING, TOLERANCE = (512, 512, 120), (0.8, 0.8, 3.0), 2.0
ORGANS = {  # centre and half axes in mm
    "liver": ((140, 200, 200), (75, 60, 80)),
    "adrenal gland": ((240, 220, 210), (5, 10, 12)),
}
LABELS = Labels({name: (value,) for value, name in enumerate(ORGANS, start=1)})
Numbers = list[float]


def label_map(shift_mm: float) -> NDArray[np.uint8]:
    """Wavy ellipsoids."""
    x, y, z = np.ogrid[tuple(slice(length) for length in SHAPE)]
    values = np.zeros(SHAPE, dtype=np.uint8)
    for value, (centre, axes) in enumerate(ORGANS.values(), start=1):
        parts = [
            ((voxel * edge - middle - shift_mm) / axis) ** 2
            for voxel, edge, middle, axis in zip((x, y, z), SPACING, centre, axes, strict=True)
        ]
        values[sum(parts) < 1 + 0.1 * np.sin(x / 5) * np.sin(y / 7)] = value
    return values


def ours(metric: Callable[[Mask, Mask], float]) -> Numbers:
    """As the command does it: cropped."""
    case = Case(label_map(0), label_map(1.5), SPACING, LABELS)
    return [metric(*case.masks(name)) for name in ORGANS]


def theirs(metric: Callable[[Mask, Mask], float]) -> Numbers:
    """As scripts do it: on whole volumes."""
    truth, found = label_map(0), label_map(1.5)
    return [metric(truth == value, found == value) for value in range(1, len(ORGANS) + 1)]


def our_hd95() -> Numbers:
    """`metrics.distance.hd95`."""
    return ours(lambda truth, found: distance.hd95(distance.both_ways(truth, found, SPACING)))


def medpy_hd95() -> Numbers:
    """That of medpy."""
    from medpy.metric.binary import hd95

    return theirs(lambda truth, found: float(hd95(found, truth, voxelspacing=SPACING)))


def our_surface_dice() -> Numbers:
    """`metrics.surfels.surface_dice`."""
    return ours(lambda truth, found: surfels.surface_dice(truth, found, SPACING, TOLERANCE))


def deepmind_surface_dice() -> Numbers:
    """surface-distance's, which crops by itself."""
    from surface_distance import compute_surface_dice_at_tolerance, compute_surface_distances

    return theirs(
        lambda truth, found: float(
            compute_surface_dice_at_tolerance(compute_surface_distances(truth, found, SPACING), TOLERANCE)
        )
    )


def nothing() -> Numbers:
    """Both label maps only: what the others spend before they measure."""
    return [float(label_map(0).max() + label_map(1.5).max())]


CONTESTANTS = (nothing, our_hd95, medpy_hd95, our_surface_dice, deepmind_surface_dice)


def _measure(contestant: Callable[[], Numbers], answer: Connection) -> None:
    start = time.process_time()
    numbers = contestant()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer.send({"cpu_seconds": round(time.process_time() - start, 1), "peak_mib": round(peak), "values": numbers})


def main() -> None:
    """Measure one after the other."""
    context = multiprocessing.get_context("spawn")
    results = {}
    for contestant in CONTESTANTS:
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_measure, args=(contestant, there))
        process.start()
        results[contestant.__name__] = here.recv()
        process.join()
    Path(__file__).with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
