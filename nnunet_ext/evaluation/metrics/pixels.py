"""Accuracies and mean IoU over all classes, background among them."""

from collections.abc import Mapping

import numpy as np

from nnunet_ext.evaluation.metrics.overlap import Counts, iou, recall

BACKGROUND = "background"


def pixel_accuracy(counts: Mapping[str, Counts]) -> float:
    """The part of all pixels that has the right class; the classes must exclude each other. No pixel: NaN."""
    pixels = sum(each.tp + each.fn for each in counts.values())
    return sum(each.tp for each in counts.values()) / pixels if pixels else float("nan")


def mean_class_accuracy(counts: Mapping[str, Counts]) -> float:
    """The mean over classes of their recall; classes that are not in the reference are left out. None at all: NaN."""
    return _mean([recall(each) for each in counts.values()])


def mean_iou(counts: Mapping[str, Counts], with_background: bool) -> float:
    """The mean over classes of their IoU; classes that are in neither are left out. None at all: NaN."""
    return _mean([iou(each) for name, each in counts.items() if with_background or name != BACKGROUND])


def _mean(values: list[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
