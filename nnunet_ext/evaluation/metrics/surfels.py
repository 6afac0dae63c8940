"""Surface Dice and a Hausdorff distance that weigh the surface by its area, as in DeepMind's surface-distance.

The surface of a mask is what marching cubes draws through the corners of its voxels: at every corner, the eight voxels
around it say which triangles lie there (a surface element, "surfel"), and so its area. Distances are between corners.
FLARE and MONAI (`use_subvoxels=True`) use the same surface. Source: Nikolov et al., arXiv 1809.04430.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.evaluation.case import Mask
from nnunet_ext.evaluation.metrics.distance import Distances, surface_distances

INSIDE = 255
"""Code of a corner with all eight voxels in the mask."""


@dataclass(frozen=True)
class Surfels:
    """The surface of one mask, seen from the other."""

    distances: Distances
    """Of every surface element to the nearest one of the other mask; infinite if that is empty."""
    areas: NDArray[np.float64]
    """Of every surface element, in the square of the edges' unit."""


def surface_dice(reference: Mask, prediction: Mask, edges: Sequence[float], tolerance: float) -> float:
    """The part of both surfaces' area that is at most `tolerance` from the other surface; also called NSD.

    Without unit, 0 to 1. Both empty: NaN. One empty: 0. Single slice: a flat body with two sides.

    Args:
        reference: (x, y, z).
        prediction: the same shape.
        edges: of a voxel, in mm.
        tolerance: in mm.
    """
    both = surfels(reference, prediction, edges)
    whole = sum(float(each.areas.sum()) for each in both)
    near = sum(float(each.areas[each.distances <= tolerance].sum()) for each in both)
    return near / whole if whole else float("nan")


def hd95(reference: Mask, prediction: Mask, edges: Sequence[float]) -> float:
    """The larger of the two distances within which 95 % of a surface's area lies; `compute_robust_hausdorff`.

    In the unit of `edges`. Both empty: NaN. One empty: infinite. `distance.hd95` is medpy's, which differs.
    """
    if not (reference.any() or prediction.any()):
        return float("nan")
    return max(_percentile(each, 0.95) for each in surfels(reference, prediction, edges))


def surfels(reference: Mask, prediction: Mask, edges: Sequence[float]) -> tuple[Surfels, Surfels]:
    """The surface of the reference and that of the prediction."""
    codes = _codes(reference), _codes(prediction)
    surfaces = [(code != 0) & (code != INSIDE) for code in codes]
    areas = surfel_areas(edges)
    result = []
    for code, ours, theirs in zip(codes, surfaces, surfaces[::-1], strict=True):
        infinite = np.full(np.count_nonzero(ours), np.inf)
        distances = surface_distances(ours, theirs, edges) if theirs.any() else infinite
        result.append(Surfels(distances, areas[code[ours]]))
    return result[0], result[1]


def surfel_areas(edges: Sequence[float]) -> NDArray[np.float64]:
    """The area at a corner by the code of its eight voxels, shape (256,), in the square of the edges' unit."""
    x, y, z = edges
    faces = np.array([y * z, x * z, x * y])
    return np.array([np.linalg.norm(normals * faces, axis=1).sum() for normals in _normals()])


def _codes(mask: Mask) -> NDArray[np.uint8]:
    """At every corner of every voxel, one bit for each of the eight voxels around it, the first voxel's the highest."""
    padded = np.pad(mask, 1).astype(np.uint8)
    codes = np.zeros([length + 1 for length in mask.shape], dtype=np.uint8)
    for bit, corner in zip(range(7, -1, -1), product((0, 1), repeat=3), strict=True):
        window = tuple(slice(start, start + length + 1) for start, length in zip(corner, mask.shape, strict=True))
        codes |= padded[window] << bit
    return codes


def _percentile(surface: Surfels, part: float) -> float:
    if not surface.areas.size:
        return float("inf")
    order = np.lexsort((surface.areas, surface.distances))
    covered = np.cumsum(surface.areas[order]) / surface.areas.sum()
    return float(surface.distances[order][min(int(np.searchsorted(covered, part)), covered.size - 1)])


@cache
def _normals() -> list[NDArray[np.float64]]:
    """By code: the normals of the triangles at a corner, shape (triangles, 3); their lengths are areas for edges of 1.

    Marching cubes draws some sets of voxels with another area than their complements. Here a surface looks the same
    from both sides: of a set and its complement, the smaller one is drawn. That gives surface-distance's table.
    """
    from skimage.measure import marching_cubes

    result = []
    for code in range(INSIDE + 1):
        inside = np.array([code >> bit & 1 for bit in range(7, -1, -1)], dtype=np.float32).reshape(2, 2, 2)
        if inside.sum() > 4:
            inside = 1 - inside
        if not inside.any():
            result.append(np.zeros((0, 3)))
            continue
        vertices, triangles, _, _ = marching_cubes(inside, 0.5, method="lorensen")
        first, second, third = np.moveaxis(vertices[triangles].astype(np.float64), 1, 0)
        result.append(np.cross(second - first, third - first) / 2)
    return result
