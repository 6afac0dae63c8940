"""The causal convolution tap by tap: the oracle."""

import torch
import torch.nn.functional as F
from torch import Tensor


def naive_conv(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool) -> Tensor:
    """y[t] = bias + sum over s of weight[W - 1 - s] x[t - s], or x[t + s] if reverse; then SiLU.

    x is (B, D, L) and zero outside, weight (D, W), bias (D); returns (B, D, L).
    """
    length, width = x.shape[-1], weight.shape[-1]
    y = torch.zeros_like(x) if bias is None else bias[:, None] + torch.zeros_like(x)  # (B, D, L)
    for shift in range(min(width, length)):
        kept = length - shift
        seen = F.pad(x[..., shift:], (0, shift)) if reverse else F.pad(x[..., :kept], (shift, 0))  # (B, D, L)
        y = y + weight[:, width - 1 - shift, None] * seen
    return F.silu(y) if silu else y
