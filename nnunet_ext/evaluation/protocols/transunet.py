"""The evaluation of TransUNet's code, which MLLA-UNet and many papers on Synapse share."""

from collections.abc import Sequence

from nnunet_ext.evaluation.case import Case
from nnunet_ext.evaluation.labels import Labels
from nnunet_ext.evaluation.metrics.distance import both_ways, hd95
from nnunet_ext.evaluation.metrics.overlap import count, dice
from nnunet_ext.evaluation.protocols.base import ONE, PX, Protocol, Value

EIGHT_ORGANS = (
    "aorta",
    "gallbladder",
    "left kidney",
    "right kidney",
    "liver",
    "pancreas",
    "spleen",
    "stomach",
)
"""What papers call Synapse: 8 of BTCV's 13 organs, in the order of their tables."""


class TransUNet(Protocol):
    """Dice and HD95 with the quirks of TransUNet's utils.py, on which the published numbers rest.

    - HD95 is in voxels, whatever their size: slices of 5 mm count as much as pixels of 0.7 mm.
    - In the prediction only: Dice 1 and HD95 0, the best values there are.
    - In the reference only, and in neither: Dice 0 and HD95 0. So a missed organ improves HD95, and an organ that is
      rightly absent costs Dice.

    Where the labels have all eight organs of Synapse, those are scored and no other, unless classes are chosen.
    Their numbering differs between copies of the data; here they are found by name.
    """

    name = "transunet"
    source = "utils.py of Beckschen/TransUNet"
    metrics = ("Dice", "HD95")

    fixed_notes = (
        "HD95 is in voxels, not mm, as in TransUNet's code.",
        "A class in the prediction only has Dice 1 and HD95 0; one in the reference only, or in neither, has "
        "Dice 0 and HD95 0: kept as in TransUNet's code.",
    )

    def __init__(self, labels: Labels | None = None, classes: Sequence[str] | None = None) -> None:
        super().__init__(labels, classes)
        names = {name.lower().replace("_", " "): name for name in self.labels.classes}
        if classes is None and all(organ in names for organ in EIGHT_ORGANS):
            self.classes = [names[organ] for organ in EIGHT_ORGANS]
            self.notes.append(
                f"Scored are the eight organs of Synapse, of {len(self.labels.classes)} labels; "
                "--classes all scores every label."
            )

    def score(self, case: Case) -> list[Value]:
        """Dice and HD95 of every class."""
        values = []
        for name in self.classes:
            reference, prediction = case.masks(name)
            overlap, distance = float(prediction.any() and not reference.any()), 0.0
            if reference.any() and prediction.any():
                overlap = dice(count(reference, prediction))
                distance = hd95(both_ways(reference, prediction, (1.0,) * reference.ndim))
            values += [Value(name, "Dice", ONE, overlap), Value(name, "HD95", PX, distance)]
        return values
