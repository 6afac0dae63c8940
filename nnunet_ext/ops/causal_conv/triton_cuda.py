"""The causal convolution on CUDA: launches of `triton_kernels`. Channels lie side by side in the memory of results."""

from math import prod

import torch
from torch import Tensor

from nnunet_ext.ops.triton_runtime import multiprocessors, row_strides, rows

# Programs per multiprocessor in the backward pass.
RESIDENT = 8


def triton_conv(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool) -> Tensor:
    """As `naive_conv`, in the dtype of x; or a pair of convolutions, see `causal_conv1d`."""
    from nnunet_ext.ops.causal_conv import triton_kernels as kernels

    *pair, batch, channels, length = x.shape
    y = x.new_empty(*pair, batch, length, channels)
    flat = rows(x)
    tiles, blocks = -(-length // kernels.BLOCK_T), -(-channels // kernels.BLOCK_D)
    with torch.cuda.device_of(x):
        kernels.forward_kernel[(batch * tiles * blocks, prod(pair))](
            flat, weight.contiguous(), None if bias is None else bias.contiguous(), y,
            *row_strides(flat), batch, channels, length, int(reverse),
            HAS_BIAS=bias is not None, SILU=silu, W=weight.shape[-1], BT=kernels.BLOCK_T, BD=kernels.BLOCK_D,
            enable_fp_fusion=True,
        )  # fmt: skip
    return y.transpose(-1, -2)


def triton_conv_backward(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients of x, weight and bias; those of weight and bias in float32."""
    from nnunet_ext.ops.causal_conv import triton_kernels as kernels

    *pair, batch, channels, length = x.shape
    width = weight.shape[-1]
    tiles, blocks = -(-length // kernels.BLOCK_T), -(-channels // kernels.BLOCK_D)
    workers = max(1, RESIDENT * multiprocessors(x.device) // (blocks * prod(pair)))
    workers = min(workers, batch * tiles)
    ds = x.new_empty(*pair, batch, length, channels, dtype=torch.float32)
    dweight = x.new_empty(workers, *pair, channels, width, dtype=torch.float32)
    dbias = None if bias is None else x.new_empty(workers, *pair, channels, dtype=torch.float32)
    flat_x, flat_dy = rows(x), rows(dy)
    with torch.cuda.device_of(x):
        kernels.backward_kernel[(blocks * workers, prod(pair))](
            flat_x, weight.contiguous(), None if bias is None else bias.contiguous(), flat_dy, ds, dweight, dbias,
            *row_strides(flat_x, flat_dy), batch, channels, length, workers, int(reverse),
            HAS_BIAS=bias is not None, SILU=silu, W=width, BW=1 << (width - 1).bit_length(),
            BT=kernels.BLOCK_T, BD=kernels.BLOCK_D,
            enable_fp_fusion=True,
        )  # fmt: skip
    dx = triton_conv(ds.transpose(-1, -2), weight, None, False, not reverse)
    return dx, dweight.sum(0), None if dbias is None else dbias.sum(0)
