"""What a protocol is: which values a case gets, and how they are averaged."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from nnunet_ext.evaluation import case as cases
from nnunet_ext.evaluation.case import Case
from nnunet_ext.evaluation.errors import EvaluationError
from nnunet_ext.evaluation.labels import Labels

ALL = "all"
"""In place of a class's name: a value of the whole image."""
ONE, MM, PX, ML = "1", "mm", "px", "ml"
"""Units."""

Undefined = Literal["left out", "undefined"]


class Value(NamedTuple):
    """One number of one case."""

    class_: str
    """A class's name, or `ALL`."""
    metric: str
    unit: str
    value: float
    """NaN where undefined."""


class Protocol(ABC):
    """A way to score predictions, under the name by which people compare numbers.

    Args:
        labels: of the data set; None for the protocol's own numbering, if it has one.
        classes: those to score, by name; None for the protocol's own choice, mostly all.

    Raises:
        EvaluationError: the protocol has no numbering of its own, cannot score these labels, or a class is unknown.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    """Where the definition is from."""
    metrics: ClassVar[tuple[str, ...]]
    """Those that its numbers are compared by; it may give more, as counts and volumes."""
    default_labels: ClassVar[Labels | None] = None
    """The numbering that it assumes where no dataset.json is given."""
    fixed_notes: ClassVar[tuple[str, ...]] = ()
    """Sentences that belong beside every number."""
    undefined_cases: ClassVar[Undefined] = "left out"
    """What an undefined value of a case does to the mean over cases."""
    undefined_classes: ClassVar[Undefined] = "left out"
    """What an undefined mean of a class does to the mean over classes."""

    def __init__(self, labels: Labels | None = None, classes: Sequence[str] | None = None) -> None:
        chosen = labels or self.default_labels
        if chosen is None:
            raise EvaluationError(f"The protocol {self.name} needs --dataset-json FILE, which names the labels.")
        for name in classes or ():
            if name not in chosen.classes:
                raise EvaluationError(f"There is no class {name!r}; the labels are {', '.join(chosen.classes)}.")
        self.labels = chosen
        self.classes = list(chosen.classes if classes is None else classes)
        self.notes = list(self.fixed_notes)

    def load(self, reference: Path, prediction: Path) -> Case:
        """Read a case; CaseError if it cannot be scored."""
        return cases.load(reference, prediction, self.labels)

    @abstractmethod
    def score(self, case: Case) -> list[Value]:
        """All values of a case; CaseError if the protocol cannot score it."""

    def pooled(self, cases: Sequence[Sequence[Value]]) -> Mapping[str, float]:
        """Values that are computed from all cases together instead of averaged, by metric; class `ALL`, unit 1."""
        return {}

    @property
    def how_averaged(self) -> str:
        """The averages in words."""
        effect = {"left out": "are left out", "undefined": "make it undefined"}
        return (
            f"Mean over cases for every class (undefined values {effect[self.undefined_cases]}), then plain mean over "
            f"the foreground classes (undefined means {effect[self.undefined_classes]})."
        )
