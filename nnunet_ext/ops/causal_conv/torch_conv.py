"""The causal convolution as torch's grouped convolution, for any device."""

import torch.nn.functional as F
from torch import Tensor


def torch_conv(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool) -> Tensor:
    """As `naive_conv`. For reverse the (D, W) weight is flipped and the padding changes sides; the sequence stays."""
    channels, width = weight.shape
    kernel = weight.flip(-1) if reverse else weight
    padding = (0, width - 1) if reverse else (width - 1, 0)
    y = F.conv1d(F.pad(x, padding), kernel[:, None], bias, groups=channels)  # (B, D, L)
    return F.silu(y) if silu else y
