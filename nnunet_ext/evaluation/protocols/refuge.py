"""REFUGE's evaluation of optic disc and cup."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.evaluation import case as cases
from nnunet_ext.evaluation.case import Case
from nnunet_ext.evaluation.errors import CaseError, EvaluationError
from nnunet_ext.evaluation.labels import Labels
from nnunet_ext.evaluation.metrics.fundus import vertical_cup_to_disc_ratio
from nnunet_ext.evaluation.metrics.overlap import count, dice
from nnunet_ext.evaluation.protocols.base import ALL, ONE, Protocol, Value

CUP_NAMES = ("optic cup", "cup")
DISC, CUP = "optic_disc", "optic_cup"
OUTSIDE = 255
"""Of REFUGE's masks; 0 is the cup, everything between is the disc without its cup."""


class REFUGE(Protocol):
    """Dice of disc and cup, and the absolute error of the vertical cup-to-disc ratio (vCDR).

    The disc contains the cup. Without a dataset.json the masks are REFUGE's own: 0 cup, 255 outside, anything between
    the disc's rim. With one, every foreground value is disc, and the cup is the label named optic_cup or cup.

    A class in neither mask has no Dice, and then the mean has none either: the challenge's images all have both. The
    diameters count pixels of the mask's columns, without holes. The score counts at the masks' original size only:
    nnU-Net keeps it, other tools may not. The weighted ranks of the leaderboard are not part of this.
    """

    name = "refuge"
    source = "evaluation_metrics/evaluation_metrics_for_segmentation.py of ignaciorlando/refuge-evaluation"
    metrics = ("Dice", "vCDR_error")
    undefined_cases = "undefined"
    undefined_classes = "undefined"
    fixed_notes = (
        "The disc contains the cup.",
        "vCDR_error is the absolute error of the vertical cup-to-disc ratio; its mean is REFUGE's MAE. Diameters are "
        "the largest count of pixels in a column.",
    )

    def __init__(self, labels: Labels | None = None, classes: Sequence[str] | None = None) -> None:
        if classes is not None:
            raise EvaluationError("The protocol refuge scores disc and cup; it takes no --classes.")
        self._coded = labels is None
        if labels is None:
            labels = Labels({DISC: (1, 2), CUP: (2,)})
        else:
            cups = [name for name in labels.classes if name.lower().replace("_", " ") in CUP_NAMES]
            if len(cups) != 1:
                raise EvaluationError(
                    f"The protocol refuge needs one label named {CUP}; the labels are {', '.join(labels.classes)}."
                )
            disc = tuple(value for value in labels.values if value)
            labels = Labels({DISC: disc, CUP: labels.classes[cups[0]]}, labels.ignore)
        super().__init__(labels)

    def load(self, reference: Path, prediction: Path) -> Case:
        """Read a case, in nnU-Net's numbering or in REFUGE's."""
        return cases.load(reference, prediction, self.labels, recode=_from_refuge if self._coded else None)

    def score(self, case: Case) -> list[Value]:
        """Dice of both, and the error of their ratio."""
        if case.reference.ndim != 2:
            raise CaseError("the protocol refuge scores 2D images, and this is a volume")
        disc, cup = case.masks(DISC), case.masks(CUP)
        truth, found = (vertical_cup_to_disc_ratio(cup[i], disc[i]) for i in range(2))
        return [
            Value(DISC, "Dice", ONE, dice(count(*disc))),
            Value(CUP, "Dice", ONE, dice(count(*cup))),
            Value(ALL, "vCDR_error", ONE, abs(found - truth)),
        ]


def _from_refuge(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.where(values == 0, 2, values < OUTSIDE).astype(np.uint8)
