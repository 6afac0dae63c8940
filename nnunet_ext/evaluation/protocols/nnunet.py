"""nnU-Net's own evaluation, and what it leaves out."""

from nnunet_ext.evaluation.case import Case
from nnunet_ext.evaluation.metrics.distance import assd, both_ways, hd95
from nnunet_ext.evaluation.metrics.overlap import count, dice, iou, precision, recall, volume
from nnunet_ext.evaluation.protocols.base import ML, MM, ONE, PX, Protocol, Value


class NNUNet(Protocol):
    """nnU-Net's Dice and IoU, with its rules: the numbers of its summary.json.

    A class that is in neither mask is undefined and left out of the mean over cases; a class that is undefined in
    every case makes the foreground mean undefined, as there. Voxels with the ignore label are not scored.

    Precision, recall, HD95 and ASSD (both as medpy defines them) and volumes are our addition. HD95 and ASSD are
    undefined where either mask is empty: read them beside Dice, which is 0 there. Images without physical size have
    distances in pixels and no volumes.
    """

    name = "nnunet"
    source = "nnunetv2.evaluation.evaluate_predictions"
    metrics = ("Dice", "IoU", "precision", "recall", "HD95", "ASSD")
    undefined_classes = "undefined"
    fixed_notes = (
        "Dice and IoU are those of nnU-Net's summary.json: undefined and left out where a class is in neither "
        "the reference nor the prediction.",
        "HD95 and ASSD are medpy's, undefined where either is empty: a missed organ shows in Dice only.",
    )

    def score(self, case: Case) -> list[Value]:
        """Overlap, distances and volumes of every class."""
        return [value for name in self.classes for value in self._class(case, name)]

    def _class(self, case: Case, name: str) -> list[Value]:
        reference, prediction = case.masks(name)
        counts = count(reference, prediction)
        distances = both_ways(reference, prediction, case.edges)
        length = PX if case.spacing is None else MM
        values = {
            ("Dice", ONE): dice(counts),
            ("IoU", ONE): iou(counts),
            ("precision", ONE): precision(counts),
            ("recall", ONE): recall(counts),
            ("HD95", length): hd95(distances),
            ("ASSD", length): assd(distances),
        }
        if case.spacing is not None:
            values["volume_pred", ML] = volume(counts.tp + counts.fp, case.spacing)
            values["volume_ref", ML] = volume(counts.tp + counts.fn, case.spacing)
        return [Value(name, metric, unit, value) for (metric, unit), value in values.items()]
