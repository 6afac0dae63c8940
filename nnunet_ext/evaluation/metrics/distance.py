"""Distances between the surface voxels of two masks, as medpy defines them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, generate_binary_structure
from scipy.spatial import KDTree

from nnunet_ext.evaluation.case import Mask

Distances = NDArray[np.float64]


class BothWays(NamedTuple):
    """Distances between two surfaces, in the unit of the edges; both empty where either mask is."""

    from_reference: Distances
    """Of every surface voxel of the reference to the prediction's surface."""
    from_prediction: Distances
    """Of every surface voxel of the prediction to the reference's surface."""


def both_ways(reference: Mask, prediction: Mask, edges: Sequence[float]) -> BothWays:
    """The distances that the metrics of this page are made from.

    A surface voxel is one that shares a face with a voxel outside the mask, or with the border of the image. In a
    single slice all voxels are surface.

    Args:
        reference: of any shape.
        prediction: the same shape.
        edges: of a voxel along every axis; in mm, or 1 for distances in voxels.
    """
    if not (reference.any() and prediction.any()):
        return BothWays(np.zeros(0), np.zeros(0))
    truth, found = surface(reference), surface(prediction)
    return BothWays(surface_distances(truth, found, edges), surface_distances(found, truth, edges))


def hd95(distances: BothWays) -> float:
    """The 95th percentile of the distances of both directions, taken together; medpy's `hd95`.

    The percentile is NumPy's (linear interpolation). Other definitions give other numbers: surface-distance weighs by
    area (`surfels.hd95`), MONAI takes the larger of the two directions' percentiles. Either mask empty: NaN.
    """
    together = np.hstack(distances)
    return float(np.percentile(together, 95)) if together.size else float("nan")


def assd(distances: BothWays) -> float:
    """The mean of the distances of both directions, taken together; medpy's `assd` since 0.5.

    medpy before 0.5 took the mean of the two directions' means. Either mask empty: NaN.
    """
    together = np.hstack(distances)
    return float(together.mean()) if together.size else float("nan")


def surface(mask: Mask) -> Mask:
    """The voxels of the mask that share a face with one outside."""
    return mask & ~binary_erosion(mask, generate_binary_structure(mask.ndim, 1))


def surface_distances(points: Mask, others: Mask, edges: Sequence[float]) -> Distances:
    """The distance of every set voxel of `points`, in array order, to the nearest set voxel of `others`.

    A tree of the surface's voxels instead of a distance transform of the volume: the same numbers, in time and memory
    that grow with the surface.

    Args:
        points: any voxels.
        others: at least one voxel, same shape.
        edges: length of a voxel along every axis.
    """
    distances = np.zeros(np.count_nonzero(points))
    apart = ~others[points]  # voxels of both surfaces have distance 0
    if apart.any():
        start, targets = np.argwhere(points)[apart], np.argwhere(others)
        nearest = KDTree(targets * edges).query(start * edges)[1]
        # From index differences, as distance transforms compute it: a tolerance is then met exactly or not at all.
        distances[apart] = np.sqrt((((targets[nearest] - start) * edges) ** 2).sum(axis=1))
    return distances
