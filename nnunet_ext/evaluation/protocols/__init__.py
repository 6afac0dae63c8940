"""The protocols by name."""

from collections.abc import Sequence

from nnunet_ext.evaluation.errors import EvaluationError
from nnunet_ext.evaluation.labels import Labels
from nnunet_ext.evaluation.protocols.amos import AMOS
from nnunet_ext.evaluation.protocols.base import Protocol
from nnunet_ext.evaluation.protocols.flare22 import FLARE22, UMamba
from nnunet_ext.evaluation.protocols.mmunet2d import MMUNet2D
from nnunet_ext.evaluation.protocols.nnunet import NNUNet
from nnunet_ext.evaluation.protocols.refuge import REFUGE
from nnunet_ext.evaluation.protocols.transunet import TransUNet
from nnunet_ext.evaluation.protocols.word import WORD

PROTOCOLS: dict[str, type[Protocol]] = {
    protocol.name: protocol for protocol in (NNUNet, FLARE22, UMamba, AMOS, TransUNet, WORD, REFUGE, MMUNet2D)
}
EVERY_CLASS = "all"


def make(
    name: str, labels: Labels | None = None, classes: Sequence[str] | None = None, tolerance: float | None = None
) -> Protocol:
    """The protocol `name` for these labels.

    Args:
        name: one of PROTOCOLS.
        labels: of the data set; None for the protocol's own numbering, if it has one.
        classes: those to score; ["all"] for every one; None for the protocol's own choice.
        tolerance: of the surface Dice in mm, for `amos` only; None for 1.

    Raises:
        EvaluationError: the protocol cannot score this.
    """
    if classes == [EVERY_CLASS] and labels is not None:
        classes = list(labels.classes)
    if name == AMOS.name and tolerance is not None:
        return AMOS(labels, classes, tolerance)
    if tolerance is not None:
        raise EvaluationError(f"The protocol {name} has no tolerance to choose; only {AMOS.name} takes --tolerance.")
    return PROTOCOLS[name](labels, classes)
