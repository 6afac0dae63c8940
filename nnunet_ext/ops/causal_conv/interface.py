"""The public function of the causal convolution."""

from typing import Literal

import torch
from torch import Tensor

from nnunet_ext.ops import triton_runtime
from nnunet_ext.ops.causal_conv import torch_ops  # noqa: F401  # registers the operators
from nnunet_ext.ops.causal_conv.torch_conv import torch_conv
from nnunet_ext.ops.checks import check_dtypes_and_devices
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

    All tensors may have one axis more in front, of length 2: a pair of convolutions, of which the second looks the
    other way. On CUDA both run at the same time, in Triton where it works.

    Args:
        x: (B, D, L), float16, bfloat16, float32 or float64.
        weight: (D, W); its last column belongs to the position itself.
        bias: (D), or None.
        activation: "silu", or None.
        reverse: see the W - 1 positions after each position instead, which equals flipping every sequence before and
            after.

    Returns:
        (B, D, L), or (2, B, D, L) of a pair, in the dtype of x; computed in float32 (float64 if any argument is
        float64), autocast or not.

    Raises:
        ValueError: a shape, dtype, device or the activation does not fit.
    """
    if not (x.ndim == 3 or (x.ndim == 4 and x.shape[0] == 2)) or x.shape[-1] < 1:
        raise ValueError(f"x has shape {tuple(x.shape)}, expected (B, D, L), or (2, B, D, L), with L >= 1.")
    channels = x.shape[-2]
    front, axis = ("2, ", (2,)) if x.ndim == 4 else ("", ())
    if weight.ndim != len(axis) + 2 or weight.shape[:-1] != (*axis, channels) or weight.shape[-1] < 1:
        wanted = f"({front}D, W) = ({front}{channels}, W) with W >= 1"
        raise ValueError(f"weight has shape {tuple(weight.shape)}, expected {wanted}.")
    if bias is not None and bias.shape != (*axis, channels):
        raise ValueError(f"bias has shape {tuple(bias.shape)}, expected ({front}D) = {(*axis, channels)}.")
    if activation not in (None, "silu"):
        raise ValueError(f"activation is {activation!r}, expected 'silu' or None.")
    check_dtypes_and_devices({"x": x, "weight": weight, "bias": bias})
    dtype = compute_dtype(x, weight, bias)
    silu = activation == "silu"
    with no_autocast(x.device.type):
        if dtype == torch.float32 and _triton_works(x.device.type):
            y: Tensor = torch.ops.nnunet_ext.causal_conv1d(x, weight, bias, silu, reverse)
            return y
        x_, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        if x.ndim == 3:
            return torch_conv(x_, weight, bias, silu, reverse).to(x.dtype)
        pair = [
            torch_conv(x_[i], weight[i], None if bias is None else bias[i], silu, reverse != bool(i)) for i in (0, 1)
        ]
        return torch.stack(pair).to(x.dtype)


def _triton_works(device_type: str) -> bool:
    return triton_runtime.problem(device_type) is None


# torch.compile takes the answer as a constant; see `choose_backend` of the selective scan.
_triton_works._dynamo_marked_constant = True  # type: ignore[attr-defined]  # a mark of torch's
