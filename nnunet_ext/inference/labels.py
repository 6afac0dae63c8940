"""From logits to labels, one class at a time, as nnU-Net does with all classes at once.

nnU-Net brings the logits of all classes to the size of the image and takes, at each voxel, the first of the largest (or
of regions, the last in their order that is more likely than not). It resamples every class alone, so the same labels
come of one class after the other, with the best value so far beside its label.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from numpy.typing import NDArray
from torch import Tensor

Labels = NDArray[np.uint8] | NDArray[np.uint16]
Values = NDArray[np.floating[Any]]
Resample = Callable[[NDArray[np.float16], Sequence[int], Sequence[float], Sequence[float]], Values]

MOST_THREADS = 8
"""Classes that are resampled at the same time, at most."""


class Logits:
    """The summed logits of all folds, (classes, x, y, z), and how many folds they are of."""

    def __init__(self, sums: Tensor, folds: int, let_go: Callable[[], None]):
        self._sums, self._folds, self._let_go = sums, folds, let_go
        self.shape: tuple[int, ...] = tuple(sums.shape)

    def of_class(self, number: int) -> Tensor:
        """The mean of the folds, (x, y, z), fp16, rounded as nnU-Net rounds it."""
        logits = self._sums[number].clone()
        self._let_go()
        if self._folds > 1:
            logits /= self._folds
        return logits


class ClassByClass(ConfigurationManager):
    """nnU-Net's configuration; what it calls the resampling of logits returns labels."""

    def __init__(self, configuration: dict[str, Any], label_manager: LabelManager, room: int, threads: int):
        """Args: the configuration; the model's labels; bytes that may be taken; classes at a time, at most."""
        super().__init__(configuration)
        self._label_manager, self._room, self._threads = label_manager, room, threads

    @property
    def resampling_fn_probabilities(self) -> Callable[..., Labels]:
        """A function of `Logits`, the size of the image, and the spacings before and after."""
        return self._labels

    def _labels(
        self, logits: Logits, shape: Sequence[int], spacing: Sequence[float], new_spacing: Sequence[float]
    ) -> Labels:
        resample: Resample = super().resampling_fn_probabilities
        manager = self._label_manager
        classes = logits.shape[0]
        dtype: Any = np.uint8 if len(manager.foreground_labels) < 255 else np.uint16
        labels: Labels = np.zeros(shape, dtype=dtype)
        smallest = _smallest(logits, manager.has_regions) if _keeps_order(self.configuration) else None

        def resampled(number: int) -> Values | None:
            channel = logits.of_class(number)
            if smallest is not None and (number > 0 or manager.has_regions) and bool((channel <= smallest).all()):
                return None
            values = np.asarray(resample(channel[None].numpy(), shape, spacing, new_spacing))[0]
            if bool(channel.isnan().any()):
                logging.getLogger(__name__).warning("the network gave NaN: labels mean nothing where it did")
                if not manager.has_regions:  # nnU-Net takes the first NaN for the largest
                    values = np.nan_to_num(values, nan=np.inf, posinf=np.inf, neginf=-np.inf)
            return values

        threads = self._threads_that_fit(logits, labels, spacing, new_spacing)
        with ThreadPoolExecutor(threads) as pool:
            maps = _in_order(pool, resampled, classes, threads)
            (_regions if manager.has_regions else _largest)(labels, maps, manager)
        return labels

    def _threads_that_fit(
        self, logits: Logits, labels: Labels, spacing: Sequence[float], new_spacing: Sequence[float]
    ) -> int:
        """nnU-Net's resampling computes in float64; apart for each axis, it also makes tables of coordinates."""
        forced = self.configuration["resampling_fn_probabilities_kwargs"].get("force_separate_z", False)
        tables = 72 if determine_do_sep_z_and_axis(forced, spacing, new_spacing)[0] else 0
        one = 10 * int(np.prod(logits.shape[1:])) + (18 + tables) * labels.size
        room = self._room - (2 + labels.itemsize) * labels.size
        return max(1, min(self._threads, logits.shape[0], room // one))


def _keeps_order(configuration: dict[str, Any]) -> bool:
    """Whether resampling cannot make a map exceed another one that is nowhere smaller: no weight is negative."""
    options = configuration["resampling_fn_probabilities_kwargs"]
    linear = options.get("order", 3) <= 1 and options.get("order_z", 0) <= 1
    return configuration["resampling_fn_probabilities"] == "resample_data_or_seg_to_shape" and linear


def _smallest(logits: Logits, regions: bool) -> Tensor:
    """What a class must exceed somewhere to be in the labels: the background, which wins if equal; as a region, 0."""
    return torch.zeros((), dtype=torch.half) if regions else logits.of_class(0)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[int], Values | None], classes: int, at_a_time: int
) -> Iterator[tuple[int, Values]]:
    for first in range(0, classes, at_a_time):
        numbers = range(first, min(first + at_a_time, classes))
        for number, values in zip(numbers, pool.map(work, numbers), strict=True):
            if values is not None:
                yield number, values


def _largest(labels: Labels, maps: Iterator[tuple[int, Values]], _: LabelManager) -> None:
    best = next(maps)[1]
    for number, values in maps:
        better = values > best
        np.copyto(best, values, where=better)
        labels[better] = number


def _regions(labels: Labels, maps: Iterator[tuple[int, Values]], manager: LabelManager) -> None:
    for number, values in maps:
        labels[manager.apply_inference_nonlin(values[None])[0].numpy() > 0.5] = manager.regions_class_order[number]


class ReadyMade(LabelManager):
    """nnU-Net's label manager for labels that are ready."""

    def convert_logits_to_segmentation(self, predicted_logits: Labels) -> Labels:
        """What comes, which `ClassByClass` made."""
        return predicted_logits
