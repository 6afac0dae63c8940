"""The causal convolution in torch, for any device."""

import torch
import torch.nn.functional as F
from torch import Tensor


def torch_conv(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool) -> Tensor:
    """As `naive_conv`. For reverse the (D, W) weight is flipped and the padding changes sides; the sequence stays."""
    channels, width = weight.shape
    kernel = weight.flip(-1) if reverse else weight
    padded = F.pad(x, (0, width - 1) if reverse else (width - 1, 0))  # (B, D, L + W - 1)
    if x.device.type == "cpu":
        y = _sum_of_shifts(padded, kernel, bias)
    else:
        y = F.conv1d(padded, kernel[:, None], bias, groups=channels)  # (B, D, L)
    return F.silu(y) if silu else y


def _sum_of_shifts(padded: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution tap by tap; on the CPU torch's grouped convolution takes about three times longer backwards."""
    length = padded.shape[-1] - kernel.shape[-1] + 1
    y = padded[..., :length] * kernel[:, :1]
    for tap in range(1, kernel.shape[-1]):
        y = torch.addcmul(y, padded[..., tap : tap + length], kernel[:, tap : tap + 1])
    return y if bias is None else y + bias[:, None]
