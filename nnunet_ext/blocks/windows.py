"""Cutting a feature map into token sequences, and the rules that say how large the windows are.

A map (B, C, *size) with a window that divides `size` on every axis has prod(size / window) windows of prod(window)
voxels. Two partitions of it exist in LKM-UNet:

- "window" (the paper): a sequence is the voxels of one contiguous window;
- "grid" (the authors' code): a sequence is every `window`-th voxel, a dilated grid over the whole map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod
from typing import Literal, Protocol

from torch import Tensor

Partition = Literal["window", "grid"]


def _axes(n_axes: int, partition: Partition) -> tuple[list[int], list[int]]:
    """Axes of (B, C, n1, w1, n2, w2, ...) that number the sequences, and those that number a sequence's tokens."""
    counts = [2 + 2 * axis for axis in range(n_axes)]
    offsets = [3 + 2 * axis for axis in range(n_axes)]
    return (counts, offsets) if partition == "window" else (offsets, counts)


def split_axes(x: Tensor, window: Sequence[int]) -> Tensor:
    """(B, C, s1, s2, ...) -> (B, C, s1 / w1, w1, s2 / w2, w2, ...)."""
    shape = [length for size, w in zip(x.shape[2:], window, strict=True) for length in (size // w, w)]
    return x.reshape(*x.shape[:2], *shape)


def to_sequences(x: Tensor, window: Sequence[int], partition: Partition) -> Tensor:
    """Map (B, C, *size) -> tokens (B * sequences, length, C), both in row-major order of the map's axes."""
    sequences, tokens = _axes(len(window), partition)
    n_axes = len(window)
    return split_axes(x, window).permute(0, *sequences, *tokens, 1).flatten(0, n_axes).flatten(1, n_axes)


def from_sequences(tokens: Tensor, window: Sequence[int], partition: Partition, like: Tensor) -> Tensor:
    """The inverse of `to_sequences`: tokens (B * sequences, length, C) -> map of the shape of `like`."""
    sequence_axes, token_axes = _axes(len(window), partition)
    split = split_axes(like, window).shape
    order = (0, *sequence_axes, *token_axes, 1)
    back = sorted(range(len(order)), key=order.__getitem__)
    return tokens.reshape([split[axis] for axis in order]).permute(back).reshape(like.shape)


class WindowRule(Protocol):
    """Says which window a map of a given size is cut into."""

    def window(self, size: Sequence[int]) -> tuple[int, ...] | None:
        """Voxels per axis; None: the map is not cut. Raises ValueError where the map cannot be cut."""


@dataclass(frozen=True)
class DerivedWindow:
    """Windows that follow from the topology: always `counts` windows per axis, whatever the size of the map."""

    counts: tuple[int, ...]

    def window(self, size: Sequence[int]) -> tuple[int, ...] | None:
        """The map's size over `counts`."""
        if any(s % n for s, n in zip(size, self.counts, strict=True)):
            raise ValueError(
                f"a feature map of size {tuple(size)} cannot be cut into {self.counts} windows: "
                "give the network images whose size is a multiple of the product of its strides"
            )
        return tuple(s // n for s, n in zip(size, self.counts, strict=True))


@dataclass(frozen=True)
class FixedWindow:
    """A window of fixed size. Where it does not divide the map: no cutting if `fallback`, else an error."""

    size: tuple[int, ...]
    fallback: bool

    def window(self, size: Sequence[int]) -> tuple[int, ...] | None:
        """The fixed size, or None for a map that it does not divide."""
        if all(s % w == 0 for s, w in zip(size, self.size, strict=True)):
            return self.size
        if self.fallback:
            return None
        raise ValueError(
            f"a window of {self.size} does not divide a feature map of size {tuple(size)}: "
            "give windows that do, or windows='derived'"
        )


def large_kernel_factor(stage: int, n_stages: int) -> int:
    """2^k of the window sizes at a stage, as the authors' code has it: two stages share a size, 1 at the last two."""
    return 1 << (n_stages - stage + 1) // 2 - 1


def derived_window(stage: int, strides: Sequence[Sequence[int]]) -> DerivedWindow:
    """The rule behind both kernel lists of the LKM-UNet paper, for any topology.

    Ours, inferred: window = bottleneck map * 2^min(k, m), where m is the number of stride-2 steps that follow the
    stage on an axis. As the map is the bottleneck's times 2^m, this is a fixed number of windows per axis,
    2^(m - min(k, m)).
    """
    factor = large_kernel_factor(stage, len(strides))
    remaining = [prod(later[axis] for later in strides[stage + 1 :]) for axis in range(len(strides[0]))]
    return DerivedWindow(tuple(step // gcd(step, factor) for step in remaining))
