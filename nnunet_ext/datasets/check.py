"""Whether a label map lies on its image, and whether its organs lie as in a patient."""

from collections.abc import Mapping
from typing import Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.orientations import io_orientation, ornt_transform

from nnunet_ext.datasets.errors import CaseError
from nnunet_ext.datasets.labels import Labels
from nnunet_ext.datasets.organs import RELATIONS

Geometry = Literal["check", "image"]
"""Whether headers count, or a label map of the image's shape takes the image's header unseen."""

ROUNDING = 0.1
"""Of a voxel's shortest edge: how far a label map's corners may lie beside the image's."""


def check_image(image: nib.Nifti1Image) -> None:
    """Raise CaseError unless the image has three axes, a usable affine and finite values."""
    if image.ndim != 3:
        raise CaseError(f"the image has {image.ndim} axes ({_shape(image)}), expected 3")
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-6:
        raise CaseError("the image's header holds no usable geometry: its affine is singular or not finite")
    if not np.isfinite(np.asanyarray(image.dataobj)).all():
        raise CaseError("the image holds NaN or infinite values")


def on_grid_of(
    image: nib.Nifti1Image, label: nib.Nifti1Image, geometry: Geometry
) -> tuple[npt.NDArray[np.generic], list[str]]:
    """The label map's values in the image's order of axes, and notes on what was done.

    Raises:
        CaseError: if the label map lies elsewhere.
    """
    if geometry == "image" and label.shape == image.shape:
        return np.asanyarray(label.dataobj), []
    distance = _distance(image, label)
    notes = []
    if distance is None or distance > _allowed(image):
        turned = label.as_reoriented(ornt_transform(io_orientation(label.affine), io_orientation(image.affine)))
        turned_distance = _distance(image, turned)
        if turned_distance is None:
            raise CaseError(f"the image has {_shape(image)} voxels, its label map {_shape(label)}")
        if turned_distance > _allowed(image):
            raise CaseError(
                f"image and label map have different geometry: by their headers (image {orientation(image)}, label map "
                f"{orientation(label)}) their corners lie up to {turned_distance:.3g} mm apart"
            )
        notes.append(f"label map turned from {orientation(label)} to the image's {orientation(image)}")
        label, distance = turned, turned_distance
    if distance > 0:
        notes.append(f"label map's affine replaced by the image's, {distance:.2g} mm beside it")
    return np.asanyarray(label.dataobj), notes


def check_positions(labels: Labels, affine: npt.NDArray[np.float64], names: Mapping[str, int]) -> None:
    """Raise CaseError if along one of the patient's axes more organs lie the wrong way round than the right way.

    Args:
        labels: (x, y, z).
        affine: from voxels to mm, to the right, front and top of the patient.
        names: value of each organ.
    """
    centres = _centres(labels, affine)
    for axis in range(3):
        known = [
            relation
            for relation in RELATIONS
            if relation.axis == axis and {names.get(relation.first), names.get(relation.second)} <= centres.keys()
        ]
        wrong = [r for r in known if centres[names[r.first]][axis] < centres[names[r.second]][axis]]
        if 2 * len(wrong) > len(known):
            example = wrong[0]
            raise CaseError(
                f"the organs lie mirrored, {('left-right', 'front-back', 'top-bottom')[axis]}, as the header gives it: "
                f"{len(wrong)} of {len(known)} positions are wrong, such as {example.first} not {example.words} "
                f"{example.second}; the file has lost its true orientation"
            )


def _centres(labels: Labels, affine: npt.NDArray[np.float64]) -> dict[int, npt.NDArray[np.float64]]:
    # NIfTI's first axis is the one that runs fastest in memory; in that order this takes half the time.
    where = np.nonzero(labels.T)
    found = labels.T[where]
    numbers = np.bincount(found)
    sums = [np.bincount(found, weights=axis) for axis in reversed(where)]
    return {
        value: affine[:3, :3] @ np.array([axis[value] / number for axis in sums]) + affine[:3, 3]
        for value, number in enumerate(numbers.tolist())
        if number
    }


def _distance(image: nib.Nifti1Image, label: nib.Nifti1Image) -> float | None:
    """How far corresponding corners lie apart, at most, in mm; None for different shapes."""
    if image.shape != label.shape:
        return None
    corners = np.array(np.meshgrid(*((0, edge - 1) for edge in image.shape), [1], indexing="ij")).reshape(4, -1)
    difference: float = np.linalg.norm(((image.affine - label.affine) @ corners)[:3], axis=0).max()
    return float(difference)


def _allowed(image: nib.Nifti1Image) -> float:
    return ROUNDING * float(np.linalg.norm(image.affine[:3, :3], axis=0).min())


def orientation(image: nib.Nifti1Image) -> str:
    """Axis codes, such as LPS."""
    return "".join(code or "?" for code in nib.aff2axcodes(image.affine))


def _shape(image: nib.Nifti1Image) -> str:
    return " x ".join(map(str, image.shape))
