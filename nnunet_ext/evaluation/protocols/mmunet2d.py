"""Accuracies and mean IoU: what Mixed-MLP MM-UNet reports on AS-OCT and REFUGE2."""

from collections.abc import Mapping, Sequence

from nnunet_ext.evaluation.case import Case
from nnunet_ext.evaluation.errors import EvaluationError
from nnunet_ext.evaluation.labels import Labels
from nnunet_ext.evaluation.metrics.overlap import Counts, count, iou, recall
from nnunet_ext.evaluation.metrics.pixels import BACKGROUND, mean_class_accuracy, mean_iou, pixel_accuracy
from nnunet_ext.evaluation.protocols.base import ALL, ONE, Protocol, Value


class MMUNet2D(Protocol):
    """Pixel accuracy, mean class accuracy and mean IoU, of every image and of all pixels of the data set together.

    The paper gives "mIoU" and "Acc" without a definition. An accuracy of 93.91 cannot be that of all pixels of whole
    fundus images, where background alone exceeds 97 %: it is the mean over classes, or that of crops. So all of them
    are given under names that say what they are, and none is the paper's.

    Classes exclude each other here: where regions overlap (a disc that contains its cup), every value of the label map
    is a class of its own. A class in neither mask has no IoU, and one that is not in the reference has no accuracy;
    both are left out of an image's mean.
    """

    name = "mmunet2d"
    source = "arXiv 2408.08600 names the metrics and does not define them"
    metrics = ("pixel_accuracy", "mean_class_accuracy", "mIoU", "mIoU_without_background")

    fixed_notes = (
        "The paper does not define its mIoU and Acc: compare with it only after finding out which of these they are.",
        "Metrics named dataset_... are computed from the pixels of all cases, the others are means over cases.",
    )

    def __init__(self, labels: Labels | None = None, classes: Sequence[str] | None = None) -> None:
        if classes is not None:
            raise EvaluationError("The protocol mmunet2d scores all classes; it takes no --classes.")
        super().__init__(labels)
        self._classes = {value: _name(value, self.labels) for value in self.labels.values}

    def score(self, case: Case) -> list[Value]:
        """IoU and accuracy of every class with their counts, and the four values of the image."""
        counts = {name: _count(case, value) for value, name in self._classes.items()}
        values = [Value(ALL, metric, ONE, value) for metric, value in _overall(counts).items()]
        for name, each in counts.items():
            row = {"IoU": iou(each), "class_accuracy": recall(each), "TP": each.tp, "FP": each.fp, "FN": each.fn}
            values += [Value(name, metric, ONE, value) for metric, value in row.items()]
        return values

    def pooled(self, cases: Sequence[Sequence[Value]]) -> Mapping[str, float]:
        """The four values of all pixels together."""
        sums = {name: dict.fromkeys(("TP", "FP", "FN"), 0.0) for name in self._classes.values()}
        for value in (value for values in cases for value in values):
            if value.metric in ("TP", "FP", "FN"):
                sums[value.class_][value.metric] += value.value
        counts = {name: Counts(*(int(each) for each in sum_.values())) for name, sum_ in sums.items()}
        return {f"dataset_{metric}": value for metric, value in _overall(counts).items()}


def _overall(counts: Mapping[str, Counts]) -> dict[str, float]:
    return {
        "pixel_accuracy": pixel_accuracy(counts),
        "mean_class_accuracy": mean_class_accuracy(counts),
        "mIoU": mean_iou(counts, with_background=True),
        "mIoU_without_background": mean_iou(counts, with_background=False),
    }


def _count(case: Case, value: int) -> Counts:
    reference, prediction = case.reference == value, case.prediction == value
    if case.scored is not None and value == 0:  # ignored voxels were set to background
        reference, prediction = reference & case.scored, prediction & case.scored
    return count(reference, prediction)


def _name(value: int, labels: Labels) -> str:
    if value == 0:
        return BACKGROUND
    containing = {name: values for name, values in labels.classes.items() if value in values}
    smallest = min(containing, key=lambda name: len(containing[name]))
    return smallest if containing[smallest] == (value,) else f"{smallest}, value {value}"
