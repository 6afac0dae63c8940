"""The memory of a trainer's network for any plan; what was traced before is not traced again."""

import json
from collections.abc import Sequence
from typing import Any

from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from nnunet_ext.architectures.topology import downsampling_factors
from nnunet_ext.planning.memory import Memory, add_backward, inference, trace_forward
from nnunet_ext.planning.shapes import Shapes, check_torch
from nnunet_ext.planning.training_step import Batch
from nnunet_ext.trainers.base import ExtTrainer

IMAGES = {2: 16, 3: 2}
"""Of the batch whose forward pass is traced, by the number of axes; the cost does not depend on it."""


class Estimator:
    """Builds networks as `trainer` does, without memory behind their weights.

    Args:
        trainer: one of our trainers.
        channels: of the image; in a cascade also the one-hot labels of the previous stage.
        classes: outputs of the network (labels or regions).

    Raises:
        ValueError: the torch that is installed cannot follow a GPU's step on this machine.
    """

    def __init__(self, trainer: type[ExtTrainer], channels: int, classes: int):
        check_torch()
        self.trainer = trainer
        self.channels = channels
        self.classes = classes
        self._networks: dict[str, Any] = {}
        self._least: dict[str, Memory] = {}
        self._memories: dict[tuple[str, tuple[int, ...], int], Memory] = {}

    def network(self, architecture: dict[str, Any]) -> Any:
        """The network for a plan's `architecture`, of fake tensors; the same object for the same plan.

        Raises:
            ValueError: the network cannot have this topology.
        """
        key = self._key(architecture)
        if key not in self._networks:
            with Shapes():
                self._networks[key] = self.build(architecture)
        return self._networks[key]

    def memory(self, architecture: dict[str, Any], patch: Sequence[int], images: int) -> Memory:
        """What the network needs, from a step with exactly such a batch; it also bounds larger batches.

        Raises:
            ValueError: the network cannot have this topology, or be trained on this patch.
        """
        least = self.least(architecture, patch)
        key = self._key(architecture), tuple(patch), images
        if key not in self._memories:
            batch = Batch(images, self.channels, tuple(patch), self.scales(architecture))
            self._memories[key] = add_backward(least, lambda: self.build(architecture), batch)
        return self._memories[key]

    def least(self, architecture: dict[str, Any], patch: Sequence[int]) -> Memory:
        """`memory` without what the backward pass takes on top; traced with this patch, if the topology is new."""
        self.network(architecture).check_patch_size(patch)
        key = self._key(architecture)
        if key not in self._least:
            batch = Batch(IMAGES[len(patch)], self.channels, tuple(patch), self.scales(architecture))
            self._least[key] = trace_forward(lambda: self.build(architecture), batch)
        return self._least[key]

    def inference(self, architecture: dict[str, Any], patch: Sequence[int], image: Sequence[int]) -> float:
        """Bytes that the prediction of an image of that size takes, see `memory.inference`."""
        return inference(lambda: self.build(architecture), self.channels, patch, image)

    def build(self, architecture: dict[str, Any]) -> nn.Module:
        """The network as the trainer builds it, with weights as PyTorch initialises them."""
        network: nn.Module = get_network_from_plans(
            self.trainer.network_class,
            self._options(architecture),
            architecture["_kw_requires_import"],
            self.channels,
            self.classes,
            allow_init=False,
            deep_supervision=self._supervised(architecture),
        )
        return network

    def _options(self, architecture: dict[str, Any]) -> dict[str, Any]:
        return {**architecture["arch_kwargs"], **self.trainer.network_options}

    def _key(self, architecture: dict[str, Any]) -> str:
        return json.dumps(self._options(architecture), sort_keys=True, default=_plain)

    def _supervised(self, architecture: dict[str, Any]) -> bool:
        return self.trainer.supervises(len(architecture["arch_kwargs"]["strides"]))

    def scales(self, architecture: dict[str, Any]) -> tuple[tuple[float, ...], ...]:
        """The size of each output as a part of the patch, per axis."""
        strides = [tuple(int(step) for step in stride) for stride in architecture["arch_kwargs"]["strides"]]
        factors = downsampling_factors(strides[:-1] if self._supervised(architecture) else strides[:1])
        return tuple(tuple(1 / step for step in factor) for factor in factors)


def _plain(number: Any) -> int | float:
    """nnU-Net's planner works with numpy's numbers, which JSON does not know."""
    plain: int | float = number.item()
    return plain
