"""How much memory a network needs, as a function of patch and batch size.

For one topology (strides, kernels, channels) what a step keeps grows in proportion to the voxels of the batch, on top
of the weights' copies: one forward pass on fake tensors gives the proportion for every patch and batch. What the
backward pass takes on top follows no such law; what is to fit has a step of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import torch
from torch import nn

from nnunet_ext.ops import triton_runtime
from nnunet_ext.planning.live_bytes import LiveBytes
from nnunet_ext.planning.shapes import Shapes
from nnunet_ext.planning.training_step import Batch, autocast, fake_backward, fake_forward

GIB = 2**30

CONTEXT = GIB
"""On a GPU, before the first tensor: CUDA's context and the workspaces of cuDNN and cuBLAS. Assumed, not measured."""

FRAGMENTATION = 1.05
"""Memory that PyTorch's allocator holds, over memory in use. Assumed, not measured."""


@dataclass(frozen=True)
class Law:
    """Bytes = `fixed` + `per_voxel` * voxels of all images of a batch."""

    fixed: float
    per_voxel: float

    def bytes(self, images: int, patch: Sequence[int]) -> float:
        """For a batch."""
        return self.fixed + self.per_voxel * images * prod(patch)


@dataclass(frozen=True)
class Extra:
    """What the backward pass takes on top of what is kept, of which it frees more and more.

    For a larger batch than the one that was traced it is at most that in proportion to the voxels, as layers that
    recompute do so in parts of limited size. For a smaller one the same is assumed, which can be too little: until the
    layers that take most for themselves it has freed less. So what is to fit is traced itself.
    """

    voxels: int
    seen: int
    """Bytes, for these voxels."""

    def bytes(self, images: int, patch: Sequence[int]) -> float:
        """For a batch."""
        return self.seen * max(1.0, images * prod(patch) / self.voxels)


@dataclass(frozen=True)
class Memory:
    """The memory of one network with one topology on one type of device."""

    parameters: int
    """Weights, all of them trained."""
    channels: int
    """Of the input."""
    kept: Law
    """What is alive between forward and backward pass, see `Step.kept`."""
    extra: Extra
    """How much more there is at one time in a step, see `Step.peak`."""

    def step(self, images: int, patch: Sequence[int]) -> float:
        """The most bytes at one time that a training step allocates, see `Step.peak`."""
        return self.kept.bytes(images, patch) + self.extra.bytes(images, patch)

    def training(self, images: int, patch: Sequence[int]) -> float:
        """Bytes that training takes on a GPU: nnU-Net's SGD, fp16 autocast, without torch.compile.

        While a step runs: weights, momentum, batch and what the step allocates. In the optimiser's step: weights,
        momentum, gradients and as much again for Nesterov's look ahead.
        """
        batch = 4 * self.channels * images * prod(patch)
        most = max(8 * self.parameters + batch + self.step(images, patch), 16 * self.parameters)
        return CONTEXT + FRAGMENTATION * most

    def most_images(self, patch: Sequence[int], limit: float) -> int:
        """The largest batch of that patch whose `training` takes at most `limit` bytes; 0 if none does."""
        if self.training(1, patch) > limit:
            return 0
        fits, too_many = 1, 2
        while self.training(too_many, patch) <= limit:
            fits, too_many = too_many, 2 * too_many
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            fits, too_many = (middle, too_many) if self.training(middle, patch) <= limit else (fits, middle)
        return fits


def inference(build: Callable[[], nn.Module], channels: int, patch: Sequence[int], image: Sequence[int]) -> float:
    """Bytes that nnU-Net's prediction of one image takes on a GPU: weights, one patch, the logits of the image.

    Args:
        build: makes the network.
        channels: of the image.
        patch: the plan's patch size.
        image: size of the preprocessed image, which nnU-Net pads to the patch.
    """
    with triton_runtime.assumed(), Shapes(), torch.device("cuda"):
        network = build().eval()
        with torch.no_grad(), autocast("cuda"), LiveBytes() as live:
            outputs = network(torch.empty(1, channels, *patch))
    logits = outputs[0] if isinstance(outputs, list) else outputs
    classes = logits.shape[1]
    weights = 4 * sum(parameter.numel() for parameter in network.parameters())
    voxels = prod(max(sides) for sides in zip(patch, image, strict=True))
    # fp16 logits and number of predictions of each voxel, the sum of a patch's mirrored predictions, the image
    image_bytes = 2 * (classes + 1) * voxels + 2 * classes * prod(patch) + 4 * channels * voxels
    return CONTEXT + FRAGMENTATION * (weights + live.peak + image_bytes)


def trace(build: Callable[[], nn.Module], batch: Batch, device_type: Literal["cuda", "cpu"] = "cuda") -> Memory:
    """The memory of the network that `build` makes, from a step with `batch`.

    Args:
        build: makes the network in training mode.
        batch: the shapes.
        device_type: "cuda" with fp16 autocast and the Triton kernels, no GPU needed; or "cpu" with float32.

    Raises:
        ValueError: the network cannot run on such a patch.
    """
    return add_backward(trace_forward(build, batch, device_type), build, batch, device_type)


def trace_forward(build: Callable[[], nn.Module], batch: Batch, device_type: Literal["cuda", "cpu"] = "cuda") -> Memory:
    """The least that the network needs: without `Memory.extra`, which takes most of the time of `trace`; see there."""
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in build().parameters())
    voxels = batch.images * prod(batch.patch)
    # In autocast each weight is kept in fp16 too.
    fixed = 2 * parameters if device_type == "cuda" else 0
    kept = Law(fixed, (fake_forward(build, batch, device_type) - fixed) / voxels)
    return Memory(parameters, batch.channels, kept, Extra(voxels, 0))


def add_backward(
    least: Memory, build: Callable[[], nn.Module], batch: Batch, device_type: Literal["cuda", "cpu"] = "cuda"
) -> Memory:
    """What `trace` returns, from what `trace_forward` did, perhaps with another batch."""
    return replace(least, extra=Extra(batch.images * prod(batch.patch), fake_backward(build, batch, device_type)))
