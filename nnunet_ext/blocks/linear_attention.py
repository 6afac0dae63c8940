"""The linear attention of MLLA (arXiv 2405.16605, section 4; code github.com/LeapLabTHU/MLLA), in 2D and 3D.

Each token attends to all tokens at a cost linear in their number, because the state of an attention head, a matrix of
its channels by its channels, is summed once. Positions enter by rotary embedding and by a depthwise convolution.

As in the authors' code: there is no projection of the values; queries and keys are rotated over all channels before
they are split into heads, so heads specialise in an axis and a frequency band; the normaliser is made of the
queries and keys that are not rotated.

Different from the code, which keeps the rotation as a complex table of one image size in the state dict: the angles
are computed from the map at hand, per axis, and nothing is kept. The core runs in float32 under autocast.

Ours: any number of axes and channels. Each axis rotates `C // (2 * axes)` pairs of channels; where that leaves pairs
over (in 3D, C = 64 leaves two), they are not rotated. In 2D with C a multiple of 4 this is the authors' rotation.

Glossary: q, queries. k, keys. v, values. n, tokens of the map. h, heads. d, channels per head. LePE, locally enhanced
positional encoding, a depthwise convolution of the values. RoPE, rotary positional embedding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_ext.blocks.channels_last import convolve
from nnunet_ext.ops.precision import compute_dtype, no_autocast

ROPE_BASE = 10000.0
EPS = 1e-6


class LinearAttention(nn.Module):
    """Global linear attention on maps (B, *size, C), of any size.

    Args:
        channels: channels C of the map.
        num_heads: attention heads h, which must divide C.
        conv_op: nn.Conv2d or nn.Conv3d, for LePE.

    Raises:
        ValueError: if the heads do not divide the channels.
    """

    def __init__(self, channels: int, num_heads: int, conv_op: type[nn.Module]):
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"{num_heads} attention heads do not divide {channels} channels: change num_heads")
        self.num_heads = num_heads
        self.qk = nn.Linear(channels, 2 * channels)
        self.lepe = conv_op(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *size, C) -> (B, *size, C), in the dtype of x."""
        q, k = self.qk(x).chunk(2, dim=-1)  # (B, *size, C) each
        with no_autocast(x.device.type):
            dtype = compute_dtype(x)
            attended = linear_attention(q.to(dtype), k.to(dtype), x.to(dtype), self.num_heads)  # (B, *size, C)
        return (attended.to(x.dtype) + convolve(self.lepe, x)).to(x.dtype)


def linear_attention(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    """Attention with the feature map ELU + 1 and rotary embedding; q, k, v (B, *size, C) -> (B, *size, C)."""
    q, k = F.elu(q) + 1, F.elu(k) + 1
    turned = rotate(torch.cat((q, k))).chunk(2)
    turned_q, turned_k, plain_q, plain_k, values = (
        _split_heads(x, num_heads) for x in (*turned, q, k, v)
    )  # (B, h, n, d) each
    normaliser = plain_q @ plain_k.mean(2).unsqueeze(-1) + EPS  # (B, h, n, 1)
    state = turned_k.transpose(-1, -2) @ (values / values.shape[2])  # (B, h, d, d)
    return (turned_q @ state / normaliser).transpose(1, 2).reshape(v.shape)


def rotate(x: Tensor) -> Tensor:
    """Turn adjacent pairs of channels of a map (B, *size, C) by the token's position: rotary embedding.

    On each axis, in its own block of channels, pair j turns by position * 10000^(-j / pairs).
    """
    size, channels = x.shape[1:-1], x.shape[-1]
    n_axes = len(size)
    pairs = channels // (2 * n_axes)
    blocks = x.split([2 * pairs] * n_axes + [channels - 2 * pairs * n_axes], dim=-1)
    exponents = torch.arange(pairs, device=x.device, dtype=x.dtype) / max(pairs, 1)
    frequencies = ROPE_BASE**-exponents  # (pairs)
    turned = []
    for axis, block in enumerate(blocks[:-1]):
        positions = torch.arange(size[axis], device=x.device, dtype=x.dtype)
        shape = [size[axis] if other == axis else 1 for other in range(n_axes)]
        angles = (positions[:, None] * frequencies).reshape(*shape, pairs)
        cos, sin = angles.cos(), angles.sin()
        a, b = block[..., ::2], block[..., 1::2]  # (B, *size, pairs) each
        turned.append(torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2))
    return torch.cat((*turned, blocks[-1]), -1)


def _split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, *size, C) -> (B, h, n, d)."""
    return x.flatten(1, -2).unflatten(-1, (num_heads, -1)).transpose(1, 2)
