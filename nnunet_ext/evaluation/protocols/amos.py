"""AMOS22: Dice and surface Dice."""

from collections.abc import Sequence

from nnunet_ext.evaluation.case import Case
from nnunet_ext.evaluation.errors import EvaluationError
from nnunet_ext.evaluation.labels import Labels
from nnunet_ext.evaluation.metrics.overlap import count, dice
from nnunet_ext.evaluation.metrics.surfels import surface_dice
from nnunet_ext.evaluation.protocols.base import ONE, Protocol, Value

TOLERANCE_MM = 1.0
"""What re-implementations use; the challenge's own code is not public."""


class AMOS(Protocol):
    """AMOS22's two metrics, for every label and case, then averaged.

    The challenge's page names the metrics and the averaging. Its code is not public, so two things are our choice: the
    tolerance of the surface Dice (an option; 1 mm is what re-implementations use), and what an absent organ counts: in
    neither mask it is left out, in one only it is 0.
    """

    name = "amos"
    source = "amos22.grand-challenge.org/Evaluation; code not public"
    metrics = ("Dice", "NSD")

    def __init__(
        self,
        labels: Labels | None = None,
        classes: Sequence[str] | None = None,
        tolerance: float = TOLERANCE_MM,
    ) -> None:
        super().__init__(labels, classes)
        if not tolerance >= 0:
            raise EvaluationError(f"The tolerance must be 0 mm or more, not {tolerance:g}.")
        self.tolerance = tolerance
        self.notes += [
            f"The tolerance of NSD is {tolerance:g} mm for every organ: the challenge's own is not public.",
            "An organ in neither the reference nor the prediction is left out: the challenge's own rule is not public.",
        ]

    def score(self, case: Case) -> list[Value]:
        """Dice and surface Dice of every organ."""
        edges = case.edges_in_mm
        values = []
        for name in self.classes:
            masks = case.masks(name)
            values.append(Value(name, "Dice", ONE, dice(count(*masks))))
            values.append(Value(name, "NSD", ONE, surface_dice(*masks, edges, self.tolerance)))
        return values
