"""The Mamba-2 mixing (arXiv 2405.21060, section 7), computed by the scan of Mamba-1.

Mamba-2 is a selective state space model whose decay and step size are shared by the channels of a head, so the scan
of Mamba-1 computes it with these repeated over the head. Slower than kernels made for Mamba-2, and the same numbers.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_ext.blocks.mamba import StateSpaceModel
from nnunet_ext.ops import causal_conv1d, selective_scan


class SelectiveSSM2(StateSpaceModel):
    """What a Mamba-2 block does between its projections: causal convolution, scan by heads, gate, normalisation.

    Args:
        d_inner: channels D.
        d_state: states N, shared by all heads.
        d_conv: width of the causal convolution.
        head_dim: channels of a head; the largest divisor that it shares with D is taken.
    """

    def __init__(self, d_inner: int, d_state: int, d_conv: int, head_dim: int = 64) -> None:
        super().__init__()
        self.d_inner = d_inner
        self.d_state = d_state
        self.head_dim = math.gcd(d_inner, head_dim)
        self.n_heads = d_inner // self.head_dim
        self.convolved = d_inner + 2 * d_state
        self.projected = d_inner + self.convolved + self.n_heads
        self.conv1d = nn.Conv1d(self.convolved, self.convolved, d_conv, groups=self.convolved, padding=d_conv - 1)
        self.norm_weight = nn.Parameter(torch.ones(d_inner))
        self.A_log = nn.Parameter(torch.empty(self.n_heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(self.n_heads))
        dt = torch.empty(self.n_heads).uniform_(math.log(0.001), math.log(0.1)).exp()
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus

    def scan(self, projected: Tensor, reverse: bool) -> Tensor:
        """Stacked z, x, B, C and dt (B, projected, L) to y (B, D, L), in the dtype of `projected`: no half."""
        dtype = projected.dtype
        z, xbc, dt = projected.split([self.d_inner, self.convolved, self.n_heads], dim=1)
        weight, bias = self.conv1d.weight.to(dtype).squeeze(1), self.conv1d.bias
        assert bias is not None
        xbc = causal_conv1d(xbc, weight, bias.to(dtype), activation="silu", reverse=reverse)  # (B, D + 2N, L)
        x, B, C = xbc.split([self.d_inner, self.d_state, self.d_state], dim=1)
        decay = -torch.exp(self.A_log.to(dtype))  # (H)
        y = selective_scan(
            x,
            dt.repeat_interleave(self.head_dim, 1),  # (B, D, L)
            decay.repeat_interleave(self.head_dim)[:, None].expand(-1, self.d_state),  # (D, N)
            B,
            C,
            self.D.to(dtype).repeat_interleave(self.head_dim),
            z,
            self.dt_bias.to(dtype).repeat_interleave(self.head_dim),
            delta_softplus=True,
            reverse=reverse,
        )  # (B, D, L), gated
        return F.rms_norm(y.transpose(1, 2), (self.d_inner,), self.norm_weight.to(dtype), 1e-5).transpose(1, 2)
