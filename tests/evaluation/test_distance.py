"""Distances between surface voxels against medpy."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from nnunet_ext.evaluation.metrics.distance import BothWays, assd, both_ways, hd95

from .masks import ANISOTROPIC, body, cut, real, shifted

medpy = pytest.importorskip("medpy.metric.binary", reason="the oracle medpy is not installed")
TOLERANCE = 1e-9
PAIRS: list[tuple[Callable[[BothWays], float], str]] = [(hd95, "hd95"), (assd, "assd")]


def _agrees(reference: np.ndarray, prediction: np.ndarray, edges: tuple[float, ...]) -> None:
    distances = both_ways(reference, prediction, edges)
    for ours, name in PAIRS:
        expected = getattr(medpy, name)(prediction, reference, voxelspacing=edges)
        assert ours(distances) == pytest.approx(expected, abs=TOLERANCE), name


@pytest.mark.parametrize("edges", [(1.0, 1.0, 1.0), ANISOTROPIC])
@pytest.mark.parametrize("seed", range(4))
def test_random_masks(seed: int, edges: tuple[float, ...]) -> None:
    _agrees(body(seed), body(seed + 10, part=0.1), edges)
    _agrees(body(seed), shifted(body(seed)), edges)


def test_random_masks_in_the_plane() -> None:
    _agrees(body(0, (40, 33)), body(1, (40, 33)), (0.5, 2.0))


@pytest.mark.parametrize("axis", range(3))
def test_single_slice(axis: int) -> None:
    reference, prediction = np.zeros((2, 20, 20, 20), dtype=bool)
    reference.swapaxes(0, axis)[7] = body(0, (20, 20))
    prediction.swapaxes(0, axis)[9] = body(1, (20, 20))
    _agrees(reference, prediction, ANISOTROPIC)


def test_far_apart_and_equal() -> None:
    reference, prediction = np.zeros((2, 30, 20, 10), dtype=bool)
    reference[0, 0, 0], prediction[29, 19, 9] = True, True
    _agrees(reference, prediction, ANISOTROPIC)
    same = both_ways(reference, reference, ANISOTROPIC)
    assert hd95(same) == assd(same) == 0


@pytest.mark.parametrize(
    ("name", "labels"),
    [("labels_only/amos_0013.nii.gz", (4, 8, 11)), ("OpenKBP_HN_CT/labelsTr/kbp_001.nii.gz", (1, 2, 3))],
)
def test_real_masks(name: str, labels: tuple[int, ...]) -> None:
    values, spacing = real(name)
    for label in labels:
        mask = cut(values, label)
        _agrees(mask, shifted(mask), spacing)


def test_cropping_changes_nothing() -> None:
    reference, prediction = np.zeros((2, 60, 50, 40), dtype=bool)
    reference[20:44, 10:40, 20:34], prediction[20:44, 10:40, 20:34] = body(0), body(1)
    expected = hd95(both_ways(body(0), body(1), ANISOTROPIC))
    assert hd95(both_ways(reference, prediction, ANISOTROPIC)) == pytest.approx(expected, abs=TOLERANCE)
    assert medpy.hd95(prediction, reference, voxelspacing=ANISOTROPIC) == pytest.approx(expected, abs=TOLERANCE)


def test_empty_masks_are_undefined() -> None:
    something, nothing = body(0), np.zeros((24, 30, 14), dtype=bool)
    for metric, _ in PAIRS:
        for pair in ((something, nothing), (nothing, something), (nothing, nothing)):
            assert math.isnan(metric(both_ways(*pair, ANISOTROPIC)))
