"""What follows from a network's strides."""

from collections.abc import Sequence
from math import prod

from nnunet_ext.blocks.residual import strided

Strides = Sequence[tuple[int, ...]]
"""One stride per stage and axis."""


def downsampling_factors(strides: Strides) -> list[tuple[int, ...]]:
    """The running product of the strides: the factor between the image and each stage."""
    return [tuple(prod(axis) for axis in zip(*strides[: stage + 1], strict=True)) for stage in range(len(strides))]


def map_sizes(size: Sequence[int], strides: Strides) -> list[tuple[int, ...]]:
    """Size of the feature map of each stage for an image of this size."""
    sizes = []
    size = tuple(size)
    for stride in strides:
        size = strided(size, stride)
        sizes.append(size)
    return sizes
