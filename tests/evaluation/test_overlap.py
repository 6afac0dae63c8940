"""Overlap metrics against scikit-learn, and where masks are empty."""

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from nnunet_ext.evaluation.metrics.overlap import count, dice, iou, precision, recall, volume

from .masks import body, cut, real, shifted


def _agrees(reference: np.ndarray, prediction: np.ndarray) -> None:
    counts = count(reference, prediction)
    ours = [dice(counts), iou(counts), precision(counts), recall(counts)]
    scores = (f1_score, jaccard_score, precision_score, recall_score)
    assert ours == pytest.approx([score(reference.ravel(), prediction.ravel()) for score in scores], abs=1e-12)


@pytest.mark.parametrize("shape", [(24, 30, 14), (40, 33)])
def test_random_masks(shape: tuple[int, ...]) -> None:
    _agrees(body(0, shape), body(1, shape, 0.3))


def test_real_masks() -> None:
    values, _ = real("TotalSegmentator_examples/ct_3mm_flare13.nii.gz")
    for label in (2, 5, 13):
        mask = cut(values, label)
        _agrees(mask, shifted(mask))


def test_empty_masks() -> None:
    something, nothing = body(0), np.zeros((24, 30, 14), dtype=bool)
    both, missed, invented = count(nothing, nothing), count(something, nothing), count(nothing, something)
    assert all(math.isnan(metric(both)) for metric in (dice, iou, precision, recall))
    assert [dice(missed), iou(missed), recall(missed)] == [0, 0, 0]
    assert [dice(invented), iou(invented), precision(invented)] == [0, 0, 0]
    assert math.isnan(precision(missed))
    assert math.isnan(recall(invented))


def test_volume_is_in_ml() -> None:
    assert volume(1000, (1.0, 1.0, 1.0)) == 1
    assert volume(8, (5.0, 5.0, 5.0)) == 1
