"""How much memory a network needs, as a function of patch and batch size.

For one topology (strides, kernels, channels) what a step allocates grows in proportion to the voxels of the batch, on
top of a part that does not depend on them. Two steps on fake tensors give both numbers, and every patch and batch of
that topology has its estimate without another step.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from nnunet_ext.ops import triton_runtime
from nnunet_ext.planning.live_bytes import LiveBytes
from nnunet_ext.planning.training_step import Batch, autocast, fake_step, fake_step_on_cuda

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
class Memory:
    """The memory of one network with one topology on one type of device."""

    parameters: int
    """Weights, all of them trained."""
    channels: int
    """Of the input."""
    classes: int
    """Channels of the output."""
    kept: Law
    """What is alive between forward and backward pass, see `Step.kept`."""
    peak: Law
    """The most at one time in a step, see `Step.peak`."""
    tile: Law
    """The most at one time in the inference of one patch."""

    def training(self, images: int, patch: Sequence[int]) -> float:
        """Bytes that training takes on a GPU: nnU-Net's SGD, fp16 autocast, without torch.compile.

        While a step runs: weights, momentum, batch and what the step allocates. In the optimiser's step: weights,
        momentum, gradients and as much again for Nesterov's look ahead.
        """
        batch = 4 * self.channels * images * prod(patch)
        most = max(8 * self.parameters + batch + self.peak.bytes(images, patch), 16 * self.parameters)
        return CONTEXT + FRAGMENTATION * most

    def most_images(self, patch: Sequence[int], limit: float) -> int:
        """The largest batch of that patch whose `training` takes at most `limit` bytes; 0 if none does."""
        available = (limit - CONTEXT) / FRAGMENTATION
        if 16 * self.parameters > available:
            return 0
        per_image = (4 * self.channels + self.peak.per_voxel) * prod(patch)
        return max(0, int((available - 8 * self.parameters - self.peak.fixed) // per_image))

    def inference(self, patch: Sequence[int], image: Sequence[int]) -> float:
        """Bytes that nnU-Net's prediction of one image takes on a GPU: weights, one patch, the logits of the image.

        Args:
            patch: the plan's patch size.
            image: size of the preprocessed image, which nnU-Net pads to the patch.
        """
        voxels = prod(max(sides) for sides in zip(patch, image, strict=True))
        # fp16 logits and number of predictions of each voxel, the sum of a patch's mirrored predictions, the image
        image_bytes = 2 * (self.classes + 1) * voxels + 2 * self.classes * prod(patch) + 4 * self.channels * voxels
        return CONTEXT + FRAGMENTATION * (4 * self.parameters + self.tile.bytes(1, patch) + image_bytes)


def trace(build: Callable[[], nn.Module], batch: Batch, device_type: Literal["cuda", "cpu"] = "cuda") -> Memory:
    """The memory of the network that `build` makes, from steps with one and with two images of `batch`.

    Args:
        build: makes the network in training mode.
        batch: the shapes; its number of images has no effect.
        device_type: "cuda" with fp16 autocast and the Triton kernels, no GPU needed; or "cpu" with float32.

    Raises:
        ValueError: the network cannot run on such a patch.
    """
    step = fake_step_on_cuda if device_type == "cuda" else fake_step
    one, two = (step(build, batch._replace(images=images)) for images in (1, 2))
    voxels = prod(batch.patch)
    kept, peak = (_line(first, second, voxels) for first, second in zip(one, two, strict=True))
    with FakeTensorMode():
        parameters = sum(parameter.numel() for parameter in build().parameters())
    tile, classes = _inference(build, batch._replace(images=1), device_type)
    return Memory(
        parameters, batch.channels, classes, kept, peak, Law(2 * parameters, (tile - 2 * parameters) / voxels)
    )


def _line(one: int, two: int, voxels: int) -> Law:
    per_voxel = (two - one) / voxels
    return Law(one - per_voxel * voxels, per_voxel)


def _inference(build: Callable[[], nn.Module], batch: Batch, device_type: str) -> tuple[int, int]:
    """(peak bytes of one forward pass that keeps nothing, channels of the logits)."""
    on_gpu = device_type == "cuda"
    with triton_runtime.assumed() if on_gpu else nullcontext(), FakeTensorMode(), torch.device(device_type):
        network = build().eval()
        image, _ = batch.tensors(device_type)
        with torch.no_grad(), autocast(device_type) if on_gpu else nullcontext(), LiveBytes() as live:
            outputs = network(image)
    logits = outputs[0] if isinstance(outputs, list) else outputs
    return live.peak, logits.shape[1]
