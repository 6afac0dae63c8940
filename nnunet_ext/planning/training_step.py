"""One training step without data: what nnU-Net's step allocates, told from shapes alone.

PyTorch's fake tensors have shape, dtype and device, but no memory behind them. A step on them runs the network's own
code, so that nothing about a network is written down twice: whatever its backward pass keeps is counted, scan states,
attention and recomputation included.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor, nn

from nnunet_ext.ops import triton_runtime
from nnunet_ext.planning.live_bytes import LiveBytes
from nnunet_ext.planning.shapes import Shapes


class Step(NamedTuple):
    """Bytes that a training step allocates besides weights, optimiser state and batch."""

    kept: int
    """Alive between forward and backward pass: what the backward pass needs, the outputs and the loss."""
    peak: int
    """The most at one time, gradients of the weights included."""


class Batch(NamedTuple):
    """The shapes of a batch."""

    images: int
    channels: int
    patch: tuple[int, ...]
    scales: tuple[tuple[float, ...], ...]
    """The outputs' size as a part of the patch, per axis: as nnU-Net's trainers have them for deep supervision."""

    def tensors(self, device: str) -> tuple[Tensor, list[Tensor]]:
        """Images and a target per scale, empty, in the dtypes of nnU-Net's data loader."""
        image = torch.empty(self.images, self.channels, *self.patch, device=device)
        sizes = [[round(side * part) for side, part in zip(self.patch, scale, strict=True)] for scale in self.scales]
        return image, [torch.empty(self.images, 1, *size, dtype=torch.int16, device=device) for size in sizes]


def run_step(network: nn.Module, image: Tensor, targets: list[Tensor], backward: bool = True) -> Step:
    """Forward, nnU-Net's loss (Dice and cross-entropy) and `backward`, in the autocast that is set.

    Args:
        network: in training mode; after the backward pass its weights have gradients.
        image: (B, C, *patch).
        targets: (B, 1, *size), one per output of the network, highest resolution first.
        backward: without it `peak` is that of the forward pass.
    """
    loss = _loss(len(targets))
    with LiveBytes() as live:
        outputs = network(image)
        value = loss(outputs if isinstance(outputs, list) else [outputs], targets)
        del outputs
        kept = live.now
        if backward:
            value.backward()
    return Step(kept, live.peak)


def fake_forward(build: Callable[[], nn.Module], batch: Batch, device_type: str) -> int:
    """`Step.kept` with fake tensors; `build` makes the network.

    On "cuda", for which no GPU is needed: in nnU-Net's fp16 autocast and with our Triton kernels. On "cpu": in float32
    and with the scan that the CPU has.
    """
    on_gpu = device_type == "cuda"
    with triton_runtime.assumed() if on_gpu else nullcontext(), Shapes():
        with torch.device(device_type):
            network = build()
        with autocast("cuda") if on_gpu else nullcontext():
            return run_step(network, *batch.tensors(device_type), backward=False).kept


def fake_backward(build: Callable[[], nn.Module], batch: Batch, device_type: str) -> int:
    """How many bytes more than `Step.kept` are `Step.peak`, with fake tensors; see `fake_forward`.

    PyTorch runs no backward pass of fake CUDA tensors without a GPU. Its part is taken from a step on the CPU, in the
    CPU's fp16 autocast, which keeps fewer operators in float32.
    """
    on_gpu = device_type == "cuda"
    kernels, precision = (triton_runtime.assumed(), autocast("cpu")) if on_gpu else (nullcontext(), nullcontext())
    with kernels, precision, Shapes():
        step = run_step(build(), *batch.tensors("cpu"))
    return step.peak - step.kept


@contextmanager
def autocast(device_type: str) -> Iterator[None]:
    """fp16 autocast; torch.autocast itself refuses CUDA where there is no GPU."""
    before = torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type)
    torch.set_autocast_enabled(device_type, True)
    torch.set_autocast_dtype(device_type, torch.float16)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled(device_type, before[0])
        torch.set_autocast_dtype(device_type, before[1])


def _loss(n_outputs: int) -> nn.Module:
    """nnU-Net's loss for labels, with its weights of deep supervision."""
    loss = DC_and_CE_loss(
        {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}, {}, dice_class=MemoryEfficientSoftDiceLoss
    )
    weights = [0.5**level for level in range(n_outputs)]
    if n_outputs > 1:
        weights[-1] = 0.0
    return DeepSupervisionWrapper(loss, weights)
