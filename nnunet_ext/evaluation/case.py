"""One case: the reference and the prediction, and the masks of a class cut out of both."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from nnunet_ext.evaluation import label_map
from nnunet_ext.evaluation.errors import CaseError
from nnunet_ext.evaluation.labels import Labels

Mask = NDArray[np.bool_]
Box = tuple[slice, ...]
Recode = Callable[[NDArray[Any]], NDArray[Any]]


class Case:
    """Two label maps on one grid.

    Args:
        reference: label values, (x, y, z) or (row, column).
        prediction: the same shape.
        spacing: voxel edges in mm, one per axis, or None where there is no physical size.
        labels: the classes.

    Raises:
        CaseError: a label map holds a value that `labels` does not know.
    """

    def __init__(
        self,
        reference: NDArray[Any],
        prediction: NDArray[Any],
        spacing: tuple[float, ...] | None,
        labels: Labels,
    ) -> None:
        self.labels = labels
        self.spacing = spacing
        self.scored: Mask | None = None
        """Where the reference does not hold the ignore label; None for everywhere."""
        if labels.ignore is not None:
            self.scored = reference != labels.ignore
            reference, prediction = reference * self.scored, prediction * self.scored
        self.reference = reference
        self.prediction = prediction
        self._boxes = [_boxes(reference), _boxes(prediction)]
        for name, boxes in zip(("reference", "prediction"), self._boxes, strict=True):
            if unknown := sorted(set(boxes) - set(labels.values)):
                raise CaseError(
                    f"the {name} holds the value {', '.join(map(str, unknown))}, which is none of the labels "
                    f"{', '.join(map(str, labels.values))}"
                )

    def masks(self, name: str) -> tuple[Mask, Mask]:
        """Reference and prediction of one class, cropped to the box that holds both; empty arrays where neither is."""
        values = self.labels.classes[name]
        box = _joined([boxes[value] for boxes in self._boxes for value in values if value in boxes])
        if box is None:
            nothing = np.zeros((0,) * self.reference.ndim, dtype=bool)
            return nothing, nothing
        return _mask(self.reference[box], values), _mask(self.prediction[box], values)

    @property
    def edges(self) -> tuple[float, ...]:
        """Voxel edges for distances: in mm, or 1 per pixel where there is no physical size."""
        return self.spacing or (1.0,) * self.reference.ndim

    @property
    def edges_in_mm(self) -> tuple[float, ...]:
        """Voxel edges of a volume in mm.

        Raises:
            CaseError: this is no volume, or has no physical size.
        """
        if self.spacing is None or self.reference.ndim != 3:
            raise CaseError("the protocol measures mm in volumes, and this image has no voxel size in mm")
        return self.spacing


def load(reference: Path, prediction: Path, labels: Labels, recode: Recode | None = None) -> Case:
    """Read both files; `recode` turns their values into those of `labels`.

    Raises:
        CaseError: one of them is not readable, they lie on different grids, or hold values that are no labels.
    """
    truth, found = label_map.read(reference), label_map.read(prediction)
    if reason := label_map.difference(truth, found):
        raise CaseError(reason)
    both = truth.values, found.values
    if recode is not None:
        both = recode(both[0]), recode(both[1])
    return Case(*both, truth.spacing, labels)


def _boxes(values: NDArray[Any]) -> dict[int, Box]:
    """By value other than 0: the smallest box that holds all its voxels."""
    return {value: box for value, box in enumerate(find_objects(values), start=1) if box is not None}


def _joined(boxes: list[Box]) -> Box | None:
    if not boxes:
        return None
    return tuple(
        slice(min(part.start for part in axis), max(part.stop for part in axis)) for axis in zip(*boxes, strict=True)
    )


def _mask(values: NDArray[Any], wanted: tuple[int, ...]) -> Mask:
    return values == wanted[0] if len(wanted) == 1 else np.isin(values, wanted)
