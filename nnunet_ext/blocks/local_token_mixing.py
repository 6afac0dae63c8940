"""Local token mixing and the multi-scale MLP of Mixed-MLP MM-UNet (arXiv 2408.08600, section 2.2).

Known: the channels are split into groups; each group's map is cut into blocks, and the tokens of a block are mixed with
each other; groups differ in their blocks' size; the groups' outputs are concatenated; channels are never mixed.

Inferred: a block's side is s pixels (the paper's s_i; its n_i is then size / s); one two-layer perceptron over the
tokens of a block, shared by blocks and channels as in MLP-Mixer; a norm before, a residual connection around it.

No weight depends on the size of the map: a map that the blocks do not divide is padded with zeros.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_ext.blocks.residual import values
from nnunet_ext.blocks.windows import from_sequences, to_sequences

Perceptron = Literal["mlp", "linear"]

MOST_TOKENS = 1024
"""Tokens that a block may have: a layer over n tokens has n * n weights."""


class TokenLinear(nn.Module):
    """A linear layer over the tokens of a block, one for all channels or one per channel.

    Args:
        channels: None, all channels share the weights.
        input_tokens, output_tokens: sizes.
    """

    def __init__(self, channels: int | None, input_tokens: int, output_tokens: int) -> None:
        super().__init__()
        copies = () if channels is None else (channels,)
        bound = input_tokens**-0.5  # that of nn.Linear
        self.weight = nn.Parameter(torch.empty(*copies, output_tokens, input_tokens).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(*copies, output_tokens).uniform_(-bound, bound))

    def forward(self, tokens: Tensor) -> Tensor:
        """(blocks, C, input_tokens) -> (blocks, C, output_tokens)."""
        if self.weight.ndim == 2:
            return F.linear(tokens, self.weight, self.bias)
        return torch.einsum("bci,coi->bco", tokens, self.weight) + self.bias


class LocalTokenMixing(nn.Module):
    """Mixing the tokens of each block, without norm and residual connection.

    Args:
        channels: channels of the map.
        block: pixels of a block per axis.
        perceptron: "mlp", linear, GELU, linear; or "linear".
        ratio: hidden tokens per token of the "mlp".
        share_over_channels: whether all channels share the weights.

    Raises:
        ValueError: for blocks of more than `MOST_TOKENS` tokens.
    """

    def __init__(
        self,
        channels: int,
        block: Sequence[int],
        perceptron: Perceptron = "mlp",
        ratio: float = 1.0,
        share_over_channels: bool = True,
    ) -> None:
        super().__init__()
        self.block = tuple(block)
        self.channels = channels
        tokens = prod(block)
        if tokens > MOST_TOKENS:
            raise ValueError(
                f"a block of {self.block} has {tokens} tokens, and a layer over it {tokens} times as many weights: "
                f"use blocks of at most {MOST_TOKENS} tokens"
            )
        copies = None if share_over_channels else channels
        if perceptron == "linear":
            self.layers = nn.Sequential(TokenLinear(copies, tokens, tokens))
        else:
            hidden = max(1, round(ratio * tokens))
            self.layers = nn.Sequential(
                TokenLinear(copies, tokens, hidden), nn.GELU(), TokenLinear(copies, hidden, tokens)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *size) -> (B, C, *size)."""
        missing = [-size % side for size, side in zip(x.shape[2:], self.block, strict=True)]
        padded = F.pad(x, [length for after in reversed(missing) for length in (0, after)])
        tokens = to_sequences(padded, self.block, "window").transpose(1, 2)  # (B * blocks, C, tokens)
        mixed = from_sequences(self.layers(tokens).transpose(1, 2), self.block, "window", like=padded)
        for axis, size in enumerate(x.shape[2:], start=2):
            mixed = mixed.narrow(axis, 0, size)
        return mixed

    def compute_conv_feature_map_size(self, size: Sequence[int]) -> int:
        """Number of values that it keeps for one map of this size: each layer's output, on the padded map."""
        padded = [length + -length % side for length, side in zip(size, self.block, strict=True)]
        return len(self.layers) * values(self.channels, padded)


class MultiScaleMLP(nn.Module):
    """MMLP: x + concatenated local token mixings of the groups of norm(x).

    The groups are as equal as the channels allow, the first ones larger; where there are fewer channels than blocks,
    the last blocks have no group.

    Args:
        channels: channels of the map.
        blocks: pixels of a block per axis, for each group of channels.
        norm: makes the norm before the mixing; None, no norm.
        residual: whether x is added.
        fuse: a 1x1 convolution after the concatenation, None as the paper mixes no channels.
        perceptron, ratio, share_over_channels: see `LocalTokenMixing`.
    """

    def __init__(
        self,
        channels: int,
        blocks: Sequence[Sequence[int]],
        norm: Callable[[int], nn.Module] | None,
        residual: bool = True,
        fuse: nn.Module | None = None,
        perceptron: Perceptron = "mlp",
        ratio: float = 1.0,
        share_over_channels: bool = True,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.residual = residual
        self.norm = nn.Identity() if norm is None else norm(channels)
        least, larger = divmod(channels, len(blocks))
        widths = [least + (group < larger) for group in range(len(blocks))]
        self.widths = [width for width in widths if width]
        self.groups = nn.ModuleList(
            LocalTokenMixing(width, block, perceptron, ratio, share_over_channels)
            for width, block in zip(self.widths, blocks, strict=False)
        )
        self.fuse = nn.Identity() if fuse is None else fuse

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *size) -> (B, C, *size)."""
        parts = self.norm(x).split(self.widths, dim=1)
        mixed = self.fuse(torch.cat([group(part) for group, part in zip(self.groups, parts, strict=True)], 1))
        return x + mixed if self.residual else mixed

    def compute_conv_feature_map_size(self, size: Sequence[int]) -> int:
        """Number of values that it keeps for one map of this size."""
        inside = sum(g.compute_conv_feature_map_size(size) for g in self.groups if isinstance(g, LocalTokenMixing))
        return inside + (2 if isinstance(self.fuse, nn.Identity) else 3) * values(self.channels, size)
