"""Surface Dice and the area-weighted Hausdorff distance against surface-distance and MONAI."""

import math

import numpy as np
import pytest

from nnunet_ext.evaluation.metrics import surfels
from nnunet_ext.evaluation.metrics.surfels import surface_dice

from .masks import ANISOTROPIC, body, cut, real, shifted

surface_distance = pytest.importorskip("surface_distance", reason="the oracle surface-distance is not installed")
monai = pytest.importorskip("monai.metrics", reason="the oracle MONAI is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:.*ndimage.*:DeprecationWarning")
TOLERANCE = 1e-9


def _agrees(reference: np.ndarray, prediction: np.ndarray, edges: tuple[float, ...], tolerance: float) -> None:
    distances = surface_distance.compute_surface_distances(reference, prediction, edges)
    expected = surface_distance.compute_surface_dice_at_tolerance(distances, tolerance)
    assert surface_dice(reference, prediction, edges, tolerance) == pytest.approx(expected, abs=TOLERANCE)
    expected = surface_distance.compute_robust_hausdorff(distances, 95)
    assert surfels.hd95(reference, prediction, edges) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("edges", [(1.0, 1.0, 1.0), (0.9, 1.3, 2.1), ANISOTROPIC])
def test_area_of_every_code(edges: tuple[float, ...]) -> None:
    from surface_distance import lookup_tables

    expected = lookup_tables.create_table_neighbour_code_to_surface_area(edges)
    np.testing.assert_allclose(surfels.surfel_areas(edges), expected, rtol=1e-12)


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_random_masks(seed: int, tolerance: float) -> None:
    _agrees(body(seed), body(seed + 10, part=0.1), ANISOTROPIC, tolerance)
    _agrees(body(seed), shifted(body(seed)), (1.5, 1.5, 2.5), tolerance)  # distances equal to the tolerance


def test_single_slice() -> None:
    reference, prediction = np.zeros((2, 20, 20, 5), dtype=bool)
    reference[..., 2], prediction[..., 3] = body(0, (20, 20)), body(1, (20, 20))
    _agrees(reference, prediction, ANISOTROPIC, 5.0)
    _agrees(reference[..., 2:4], prediction[..., 2:4], ANISOTROPIC, 2.0)


def test_one_voxel_2_mm_from_another() -> None:
    reference, prediction = np.zeros((2, 5, 6, 9), dtype=bool)
    reference[2, 3, 4] = prediction[2, 3, 6] = True
    assert surface_dice(reference, prediction, (3.0, 2.0, 1.0), 1.0) == 0.5
    assert surface_dice(reference, prediction, (3.0, 2.0, 1.0), 2.0) == 1.0


@pytest.mark.parametrize(
    ("name", "labels"),
    [("labels_only/word_0014.nii.gz", (6, 7, 12)), ("Hippocampus_MSD04/labelsTr/hippocampus_023.nii.gz", (1, 2))],
)
def test_real_masks(name: str, labels: tuple[int, ...]) -> None:
    values, spacing = real(name)
    for label in labels:
        mask = cut(values, label)
        _agrees(mask, shifted(mask), spacing, 2.0)


def test_monai_with_subvoxels() -> None:
    import torch

    pair = body(0), body(1)
    one_hot = [torch.from_numpy(np.stack([~mask, mask]))[None].float() for mask in pair]
    expected = monai.compute_surface_dice(one_hot[1], one_hot[0], [2.0], spacing=ANISOTROPIC, use_subvoxels=True)
    assert surface_dice(*pair, ANISOTROPIC, 2.0) == pytest.approx(float(expected), abs=1e-6)  # float32


def test_empty_masks() -> None:
    something, nothing = body(0), np.zeros((24, 30, 14), dtype=bool)
    for edges in ((1.0, 1.0, 1.0), ANISOTROPIC):
        assert surface_dice(something, nothing, edges, 100) == surface_dice(nothing, something, edges, 100) == 0
        assert math.isnan(surface_dice(nothing, nothing, edges, 1))
        assert math.isnan(surfels.hd95(nothing, nothing, edges))
        assert math.isinf(surfels.hd95(something, nothing, edges))
