"""The public function of the causal convolution."""

from typing import Literal

from torch import Tensor

from nnunet_ext.ops.causal_conv.torch_conv import torch_conv
from nnunet_ext.ops.precision import compute_dtype, no_autocast


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: Literal["silu"] | None = None,
    reverse: bool = False,
) -> Tensor:
    """A depthwise convolution that sees the W - 1 positions before each position, with zeros before the sequence.

    Args:
        x: (B, D, L), float16, bfloat16, float32 or float64.
        weight: (D, W); its last column belongs to the position itself.
        bias: (D), or None.
        activation: "silu", or None.
        reverse: see the W - 1 positions after each position instead, which equals flipping every sequence before and
            after.

    Returns:
        (B, D, L) in the dtype of x; computed in float32 (float64 if any argument is float64), autocast or not.

    Raises:
        ValueError: a shape or the activation does not fit.
    """
    if x.ndim != 3 or x.shape[2] < 1:
        raise ValueError(f"x has shape {tuple(x.shape)}, expected (B, D, L) with L >= 1.")
    channels = x.shape[1]
    if weight.ndim != 2 or weight.shape[0] != channels or weight.shape[1] < 1:
        raise ValueError(f"weight has shape {tuple(weight.shape)}, expected (D, W) = ({channels}, W) with W >= 1.")
    if bias is not None and bias.shape != (channels,):
        raise ValueError(f"bias has shape {tuple(bias.shape)}, expected (D) = ({channels},).")
    if activation not in (None, "silu"):
        raise ValueError(f"activation is {activation!r}, expected 'silu' or None.")
    dtype = compute_dtype(x, weight, bias)
    with no_autocast(x.device.type):
        y = torch_conv(
            x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype), activation == "silu", reverse
        )
        return y.to(x.dtype)
