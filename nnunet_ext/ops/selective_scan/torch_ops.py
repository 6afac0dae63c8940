"""The scan as two torch.library operators: one node each for torch.compile, autograd and activation checkpointing.

The operators dispatch on the name of a backend. What a backend saves for its backward pass is an output of the forward
operator (an autograd formula can only save inputs and outputs); it is empty when nothing is to be saved.
"""

import torch
from torch import Tensor

from nnunet_ext.ops.precision import no_autocast
from nnunet_ext.ops.selective_scan.backend import SEQUENCES, TENSORS, ScanInputs
from nnunet_ext.ops.selective_scan.registry import get_backend


@torch.library.custom_op("nnunet_ext::scan_forward", mutates_args=())
def scan_forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    save: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Output, in the shape of u, and checkpoints (empty unless `save`); the latter are what `scan_backward` needs."""
    inputs = ScanInputs(u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse)
    if u.numel() == 0:
        return _empty_outputs(inputs, save, backend)
    with no_autocast(u.device.type):
        y, state = get_backend(backend).forward(inputs, save)
    return y, u.new_empty(0, dtype=inputs.dtype()) if state is None else state


@scan_forward.register_fake
def _(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    save: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    return _empty_outputs(ScanInputs(u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse), save, backend)


@torch.library.custom_op("nnunet_ext::scan_backward", mutates_args=())
def scan_backward(
    dy: Tensor,
    state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradient of each of the eight tensors, in its dtype; empty for those that are None."""
    inputs = ScanInputs(u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse)
    if u.numel() == 0:
        zeros = [None if tensor is None else torch.zeros_like(tensor) for tensor in inputs.tensors()]
        return _gradients(zeros, inputs, backend)
    if state.numel() == 0:
        raise RuntimeError("The selective scan ran with save=False, so it has no backward pass.")
    with no_autocast(u.device.type):
        return _gradients(list(get_backend(backend).backward(inputs, state, dy)), inputs, backend)


@scan_backward.register_fake
def _(
    dy: Tensor,
    state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = ScanInputs(u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse)
    empty = [None if tensor is None else torch.empty_like(tensor) for tensor in inputs.tensors()]
    return _gradients(empty, inputs, backend)


def _empty_outputs(inputs: ScanInputs, save: bool, backend: str) -> tuple[Tensor, Tensor]:
    """Uninitialised outputs of the forward operator."""
    y = inputs.u.new_empty(inputs.u.shape, dtype=inputs.dtype())
    shape = get_backend(backend).state_shape(inputs) if save else (0,)
    return _laid_out(y, "u", backend), inputs.u.new_empty(shape, dtype=inputs.dtype())


def _gradients(
    gradients: list[Tensor | None], inputs: ScanInputs, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients in the dtypes of the inputs and the backend's layout; an empty tensor stands for None."""
    outputs = [
        inputs.u.new_empty(0)
        if gradient is None or tensor is None
        else _laid_out(gradient.to(tensor.dtype), name, backend)
        for gradient, tensor, name in zip(gradients, inputs.tensors(), TENSORS, strict=True)
    ]
    return tuple(outputs)  # type: ignore[return-value]  # a list has no arity


def _laid_out(tensor: Tensor, name: str, backend: str) -> Tensor:
    """The tensor, or the gradient, of that name in the backend's layout; copied only if it is not."""
    if name in SEQUENCES and get_backend(backend).channels_last:
        return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)
    return tensor.contiguous()


def _save_for_backward(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # torch's own calling convention
    *tensors, ctx.delta_softplus, ctx.reverse, _, ctx.backend = inputs
    ctx.save_for_backward(output[1], *tensors)
    # No gradient of zeros is made up for the checkpoints.
    ctx.set_materialize_grads(False)


def _differentiate(ctx, dy, _):  # type: ignore[no-untyped-def]  # torch's own calling convention
    state, *tensors = ctx.saved_tensors
    if dy is None:
        return (None,) * 12
    gradients = scan_backward(dy, state, *tensors, ctx.delta_softplus, ctx.reverse, ctx.backend)
    given = [None if tensor is None else gradient for tensor, gradient in zip(tensors, gradients, strict=True)]
    return *given, None, None, None, None


scan_forward.register_autograd(_differentiate, setup_context=_save_for_backward)
