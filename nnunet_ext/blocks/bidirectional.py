"""The bidirectional Mamba of LKM-UNet (arXiv 2403.07332, section 3.2, "Bidirectional Mamba"), for tokens.

As in the authors' code the two directions share nothing but the norm before and the projection after their sum.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_ext.blocks.mamba import MambaDirection, project_each, scan_both_ways, scans_pairs
from nnunet_ext.ops.precision import compute_dtype, no_autocast


class BidirectionalMamba(nn.Module):
    """out_proj(forward(norm(x)) + backward(norm(x))) on tokens (B, L, C); the residual is the caller's.

    Computed in float32 whatever the dtypes of input and parameters, and cast back to the dtype of the input.

    Args:
        d_model: channels C of the tokens.
        d_state: states per channel.
        d_conv: width of the causal convolution.
        expand: inner channels per channel.
        bidirectional: False leaves out the backward direction.
    """

    def __init__(
        self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2, bidirectional: bool = True
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.mamba_forw = MambaDirection(d_model, d_state, d_conv, expand)
        self.mamba_backw = MambaDirection(d_model, d_state, d_conv, expand, reverse=True) if bidirectional else None
        self.out_proj = nn.Linear(self.mamba_forw.d_inner, d_model, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L, C) to tokens (B, L, C)."""
        with no_autocast(tokens.device.type):
            dtype = compute_dtype(tokens)
            weight, bias = self.norm.weight.to(dtype), self.norm.bias.to(dtype)
            x = F.layer_norm(tokens.to(dtype), self.norm.normalized_shape, weight, bias, self.norm.eps)  # (B, L, C)
            if self.mamba_backw is None:
                y = self.mamba_forw(x)  # (B, L, D)
            elif scans_pairs(x):
                y = self._both_ways(self.mamba_backw, x)
            else:
                y = self.mamba_forw(x) + self.mamba_backw(x)
            return F.linear(y, self.out_proj.weight.to(dtype)).to(tokens.dtype)

    def _both_ways(self, backwards: MambaDirection, x: Tensor) -> Tensor:
        """Normalised tokens (B, L, C) to the sum of both directions (B, L, D), each step of the two in one launch."""
        xz = project_each((self.mamba_forw.in_proj, backwards.in_proj), x)  # (2, B, 2D, L)
        return scan_both_ways(self.mamba_forw, backwards, xz).sum(0).transpose(1, 2)

    def values_kept(self, tokens: int) -> int:
        """About how many values the backward pass keeps for `tokens` tokens.

        Per token and direction x and z, the convolved x, delta and y (each `expand` * C), once the normalised token and
        the output (C each).
        """
        directions = 1 if self.mamba_backw is None else 2
        return tokens * (5 * self.mamba_forw.d_inner * directions + 2 * self.mamba_forw.d_model)
