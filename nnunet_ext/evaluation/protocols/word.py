"""WORD's evaluation."""

from nnunet_ext.evaluation.case import Case
from nnunet_ext.evaluation.metrics.distance import both_ways, hd95
from nnunet_ext.evaluation.metrics.overlap import count, dice
from nnunet_ext.evaluation.protocols.base import MM, ONE, Protocol, Value

HD95_OF_NOTHING_MM = 50.0


class WORD(Protocol):
    """Dice and HD95 in mm with the rules of WORD's word_metrics_computing.py.

    - Either mask empty, or both: Dice 0 and HD95 50 mm. So an organ that is rightly absent costs as much as one missed.
    - The script gives medpy the voxel edges as (z, x, y) for an array (z, y, x): width and height of a voxel are
      exchanged. It matters only where they differ.
    """

    name = "word"
    source = "word_metrics_computing.py of HiLab-git/WORD"
    metrics = ("Dice", "HD95")

    fixed_notes = (
        f"A class that is not in both has Dice 0 and HD95 {HD95_OF_NOTHING_MM:g} mm, even if it is in neither, as in "
        "WORD's script.",
        "Width and height of a voxel are exchanged for HD95, as in WORD's script; this matters only where they differ.",
    )

    def score(self, case: Case) -> list[Value]:
        """Dice and HD95 of every organ."""
        x, y, z = case.edges_in_mm
        values = []
        for name in self.classes:
            reference, prediction = case.masks(name)
            overlap, distance = 0.0, HD95_OF_NOTHING_MM
            if reference.any() and prediction.any():
                overlap = dice(count(reference, prediction))
                distance = hd95(both_ways(reference, prediction, (y, x, z)))
            values += [Value(name, "Dice", ONE, overlap), Value(name, "HD95", MM, distance)]
        return values
