"""The Triton convolution as two torch.library operators, which keep its input alone for the backward pass."""

import torch
from torch import Tensor

from nnunet_ext.ops.causal_conv.triton_cuda import triton_conv, triton_conv_backward


@torch.library.custom_op("nnunet_ext::causal_conv1d", mutates_args=())
def conv_forward(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool) -> Tensor:
    """The output, in shape and dtype of x."""
    return _rows_without_gaps(x) if x.numel() == 0 else triton_conv(x, weight, bias, silu, reverse)


@conv_forward.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool) -> Tensor:
    return _rows_without_gaps(x)


@torch.library.custom_op("nnunet_ext::causal_conv1d_backward", mutates_args=())
def conv_backward(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias, in their dtypes; empty if there is no bias."""
    if x.numel() == 0:
        zeros = x.new_empty(0) if bias is None else torch.zeros_like(bias, memory_format=torch.contiguous_format)
        return _rows_without_gaps(x), torch.zeros_like(weight, memory_format=torch.contiguous_format), zeros
    dx, dweight, dbias = triton_conv_backward(dy, x, weight, bias, silu, reverse)
    none = x.new_empty(0)
    return (
        dx.to(x.dtype),
        dweight.to(weight.dtype),
        none if bias is None or dbias is None else dbias.to(bias.dtype),
    )


@conv_backward.register_fake
def _(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    none = x.new_empty(0)
    dbias = none if bias is None else bias.new_empty(bias.shape)
    return _rows_without_gaps(x), weight.new_empty(weight.shape), dbias


def _rows_without_gaps(x: Tensor) -> Tensor:
    """An uninitialised tensor like x, with the channels side by side in memory."""
    *outer, channels, length = x.shape
    return x.new_empty(*outer, length, channels).transpose(-1, -2)


def _save_for_backward(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # torch's own calling convention
    *tensors, ctx.silu, ctx.reverse = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, dy):  # type: ignore[no-untyped-def]  # torch's own calling convention
    x, weight, bias = ctx.saved_tensors
    dx, dweight, dbias = conv_backward(dy, x, weight, bias, ctx.silu, ctx.reverse)
    return dx, dweight, None if bias is None else dbias, None, None


conv_forward.register_autograd(_differentiate, setup_context=_save_for_backward)
