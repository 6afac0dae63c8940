"""The block of MLLA, "Mamba-like linear attention" (arXiv 2405.16605, Figure 3; code github.com/LeapLabTHU/MLLA).

Mamba's block with linear attention in the place of the scan, between two convolutional positional encodings, and an
MLP. All convolutions are depthwise, 3 voxels wide, with a bias; parameter names are those of MLLA's code.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from dynamic_network_architectures.building_blocks.regularization import DropPath
from torch import Tensor, nn

from nnunet_ext.blocks.channels_last import convolve
from nnunet_ext.blocks.linear_attention import LinearAttention
from nnunet_ext.blocks.residual import values

MLP_RATIO = 4
KEPT_MAPS = 17 + 2 * MLP_RATIO
"""Maps of C channels that the backward pass needs, about: two positional encodings, two norms, the gate (2), in_proj,
the convolution and its SiLU, q and k plain and rotated (4), the attention, LePE, gated, three sums, and the MLP's."""


class MLLABlock(nn.Module):
    """One block on maps (B, *size, C).

    Args:
        channels: channels C of the map.
        num_heads: attention heads, which must divide C.
        conv_op: nn.Conv2d or nn.Conv3d.
        drop_path: probability with which a sample skips a residual branch in training.
    """

    def __init__(self, channels: int, num_heads: int, conv_op: type[nn.Module], drop_path: float = 0.0):
        super().__init__()
        self.channels = channels
        self.cpe1 = conv_op(channels, channels, 3, padding=1, groups=channels)
        self.norm1 = nn.LayerNorm(channels)
        self.act_proj = nn.Linear(channels, channels)
        self.in_proj = nn.Linear(channels, channels)
        self.dwc = conv_op(channels, channels, 3, padding=1, groups=channels)
        self.attn = LinearAttention(channels, num_heads, conv_op)
        self.out_proj = nn.Linear(channels, channels)
        self.cpe2 = conv_op(channels, channels, 3, padding=1, groups=channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLP(channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *size, C) -> (B, *size, C)."""
        x = x + convolve(self.cpe1, x)
        y = self.norm1(x)
        gate = F.silu(self.act_proj(y))
        y = F.silu(convolve(self.dwc, self.in_proj(y)))
        x = x + self.drop_path(self.out_proj(self.attn(y) * gate))
        x = x + convolve(self.cpe2, x)
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def compute_conv_feature_map_size(self, size: Sequence[int]) -> int:
        """Number of values that the block keeps for one image's map."""
        return KEPT_MAPS * values(self.channels, size)


class MLP(nn.Module):
    """Linear, GELU, Linear, on the channels of each token."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Linear(channels, MLP_RATIO * channels)
        self.fc2 = nn.Linear(MLP_RATIO * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.fc2(F.gelu(self.fc1(x)))
