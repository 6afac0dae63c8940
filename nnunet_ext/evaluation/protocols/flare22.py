"""FLARE22's evaluation, and the variant of it that the U-Mamba and LKM-UNet papers used."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from nnunet_ext.evaluation.case import Case, Mask
from nnunet_ext.evaluation.errors import EvaluationError
from nnunet_ext.evaluation.labels import Labels
from nnunet_ext.evaluation.metrics.overlap import count, dice
from nnunet_ext.evaluation.metrics.surfels import surface_dice
from nnunet_ext.evaluation.protocols.base import ONE, Protocol, Value

DIGITS = 4
"""The scripts round every value before they average."""
LOWEST_DICE = 0.2
"""Below this FLARE22 sets the surface Dice to 0."""


class Organ(NamedTuple):
    """How an organ is scored."""

    tolerance: float
    """Of the surface Dice, in mm."""
    other_names: tuple[str, ...] = ()
    labelled_slices_only: bool = False
    """Scored from the reference's lowest slice to its highest, which is excluded: the scripts' slice ends there."""


ORGANS = {
    "liver": Organ(5),
    "right kidney": Organ(3, ("kidney right", "rk")),
    "spleen": Organ(3),
    "pancreas": Organ(5),
    "aorta": Organ(2, (), True),
    "inferior vena cava": Organ(2, ("ivc", "postcava"), True),
    "right adrenal gland": Organ(2, ("adrenal gland right", "right adrenal", "rag")),
    "left adrenal gland": Organ(2, ("adrenal gland left", "left adrenal", "lag")),
    "gallbladder": Organ(2, ("gall bladder",)),
    "esophagus": Organ(3, ("oesophagus",), True),
    "stomach": Organ(5),
    "duodenum": Organ(7),
    "left kidney": Organ(3, ("kidney left", "lk")),
}
"""In FLARE22's order, whose numbering starts at 1."""
_ORGAN_OF = {alias: name for name, organ in ORGANS.items() for alias in (name, *organ.other_names)}


class UMamba(Protocol):
    """Dice and surface Dice as in the scripts of U-Mamba and LKM-UNet (evaluation/abdomen_*_Eval.py), CT and MR.

    Kept as they are, because published numbers come from them:

    - Aorta, inferior vena cava and oesophagus are scored only on the slices of the reference, along the file's third
      axis, and the last of these slices is left out.
    - A reference with a single such slice leaves nothing to score: the value is undefined and left out (where the
      surface Dice script does not end with an error).
    - In neither: 1 and 1. In the prediction only: 0 and 0. In the reference only: 0 and 0, by the formulas.
    - There is no rule for low Dice, which FLARE22 has.
    - Every value is rounded to four digits, then averaged over cases, then over organs.

    The tolerances are those of FLARE22, for MR too. Organs are found by their names in dataset.json, whatever their
    order; without a dataset.json the numbering is FLARE22's.
    """

    name = "umamba"
    source = "evaluation/abdomen_DSC_Eval.py and abdomen_NSD_Eval.py of bowang-lab/U-Mamba and wjh892521292/LKM-UNet"
    metrics = ("Dice", "NSD")
    default_labels = Labels({name: (value,) for value, name in enumerate(ORGANS, start=1)})
    flare_rules: ClassVar[bool] = False
    """Whether Dice below 0.2 makes the surface Dice 0, and an empty prediction is 0 before anything is cropped."""

    def __init__(self, labels: Labels | None = None, classes: Sequence[str] | None = None) -> None:
        super().__init__(labels, classes)
        organs = {name: _organ(name, self.name) for name in self.classes}
        self._organs = {name: ORGANS[organ] for name, organ in organs.items()}
        absent = [organ for organ in ORGANS if organ not in organs.values()]
        tolerances = ", ".join(f"{name} {organ.tolerance:g}" for name, organ in self._organs.items())
        self.notes += [
            f"Tolerances of NSD in mm: {tolerances}.",
            "Aorta, inferior vena cava and esophagus are scored on the reference's slices only, and the last of "
            "these is left out, as in the published scripts.",
            f"Values are rounded to {DIGITS} digits before they are averaged, as in the published scripts.",
        ]
        if absent:
            self.notes.append(
                f"{len(ORGANS) - len(absent)} of the protocol's {len(ORGANS)} organs are scored; not among them: "
                f"{', '.join(absent)}."
            )

    def score(self, case: Case) -> list[Value]:
        """Dice and surface Dice of every organ."""
        edges = case.edges_in_mm
        values = []
        for name, organ in self._organs.items():
            pair = self._pair(*case.masks(name), organ, edges)
            values += [
                Value(name, metric, ONE, round(value, DIGITS)) for metric, value in zip(self.metrics, pair, strict=True)
            ]
        return values

    def _pair(self, reference: Mask, prediction: Mask, organ: Organ, edges: tuple[float, ...]) -> tuple[float, float]:
        if not reference.any():
            return (0.0, 0.0) if prediction.any() else (1.0, 1.0)
        if self.flare_rules and not prediction.any():
            return 0.0, 0.0
        if organ.labelled_slices_only:
            slices = np.flatnonzero(reference.any(axis=(0, 1)))
            kept = slice(slices[0], slices[-1])
            reference, prediction = reference[..., kept], prediction[..., kept]
        overlap = dice(count(reference, prediction))
        if self.flare_rules and overlap < LOWEST_DICE:
            return overlap, 0.0
        return overlap, surface_dice(reference, prediction, edges, organ.tolerance)


class FLARE22(UMamba):
    """FLARE22's Dice and surface Dice: `umamba` with two more rules.

    Dice below 0.2 sets the surface Dice to 0, and an organ that was not predicted at all is 0 and 0 even if its
    reference has a single slice. The organisers' script is around with and without these two rules; the numbers differ
    only where an organ was almost missed. Not part of this: their ranking, and time and memory of the container.
    """

    name = "flare22"
    source = "FLARE22/Evaluation of JunMa11/FLARE"
    flare_rules = True

    def __init__(self, labels: Labels | None = None, classes: Sequence[str] | None = None) -> None:
        super().__init__(labels, classes)
        self.notes.append(
            f"Dice below {LOWEST_DICE} sets NSD to 0; the organisers' script is around with and without this rule."
        )


def _organ(name: str, protocol: str) -> str:
    plain = name.lower().replace("_", " ").replace("-", " ").strip()
    if plain not in _ORGAN_OF:
        raise EvaluationError(
            f"The protocol {protocol} has no tolerance for the label {name!r}; it scores {', '.join(ORGANS)}. "
            "Choose some with --classes, or another protocol."
        )
    return _ORGAN_OF[plain]
