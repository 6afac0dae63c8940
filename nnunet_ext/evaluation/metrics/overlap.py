"""Overlap of two masks, without unit, between 0 and 1; and volumes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nnunet_ext.evaluation.case import Mask


class Counts(NamedTuple):
    """Voxels of two masks."""

    tp: int
    """In both."""
    fp: int
    """In the prediction only."""
    fn: int
    """In the reference only."""


def count(reference: Mask, prediction: Mask) -> Counts:
    """Count the voxels of two masks."""
    tp = int(np.count_nonzero(reference & prediction))
    return Counts(tp, int(np.count_nonzero(prediction)) - tp, int(np.count_nonzero(reference)) - tp)


def dice(counts: Counts) -> float:
    """2 TP / (2 TP + FP + FN): the Dice coefficient, also called DSC or F1.

    Both empty: NaN. One empty: 0.
    """
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def iou(counts: Counts) -> float:
    """TP / (TP + FP + FN): intersection over union, also called Jaccard index.

    Both empty: NaN. One empty: 0.
    """
    return _ratio(counts.tp, counts.tp + counts.fp + counts.fn)


def precision(counts: Counts) -> float:
    """TP / (TP + FP): the part of the prediction that is right.

    Prediction empty: NaN, whatever the reference is. Reference empty, prediction not: 0.
    """
    return _ratio(counts.tp, counts.tp + counts.fp)


def recall(counts: Counts) -> float:
    """TP / (TP + FN): the part of the reference that was found; also called sensitivity, or accuracy of the class.

    Reference empty: NaN, whatever the prediction is. Prediction empty, reference not: 0.
    """
    return _ratio(counts.tp, counts.tp + counts.fn)


def volume(voxels: int, edges_mm: Sequence[float]) -> float:
    """Volume of so many voxels in ml; 0 for none."""
    return voxels * float(np.prod(edges_mm)) / 1000


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
