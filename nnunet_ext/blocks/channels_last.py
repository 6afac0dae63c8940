"""Feature maps with the channels last, (B, *size, C): what `nn.Linear` and `nn.LayerNorm` take without reshaping.

Such a map seen as (B, C, *size) has PyTorch's "channels last" memory format, in which convolutions run without copies.
"""

from collections.abc import Sequence

from torch import Tensor, nn


def convolve(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer that wants (B, C, *size) to (B, *size, C); returns (B, *new size, new C)."""
    return layer(x.movedim(-1, 1)).movedim(1, -1)


def unfold_voxels(x: Tensor, factors: Sequence[int]) -> Tensor:
    """(B, *size, prod(factors) * C) -> (B, *(size * factors), C): each voxel becomes a block of voxels.

    The channels count the block's voxels first, in row-major order, and C fastest (Swin-Unet's "patch expanding").
    """
    size = [s * factor for s, factor in zip(x.shape[1:-1], factors, strict=True)]
    x = x.unflatten(-1, (*factors, -1))  # (B, s1, s2, ..., f1, f2, ..., C)
    order = [axis for first in range(1, len(factors) + 1) for axis in (first, first + len(factors))]
    return x.permute(0, *order, -1).reshape(x.shape[0], *size, x.shape[-1])
