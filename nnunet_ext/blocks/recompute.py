"""Recomputing activations in the backward pass instead of keeping them, and computing a layer in parts."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

MOST_VALUES = 2**25
"""Values of the input of one part. A bidirectional Mamba needs about 25 times as many of its own, in float32: 3 GiB."""


class Recomputing(nn.Module):
    """A layer that in training recomputes activations if `recompute`, which trades time for memory."""

    def __init__(self, recompute: bool) -> None:
        super().__init__()
        self.recompute = recompute

    def recomputed(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """`function` of x; it must not be random, as no random state is kept."""
        if self.recompute and self.training and torch.is_grad_enabled():
            return checkpoint(function, x, use_reentrant=False, preserve_rng_state=False)
        return function(x)

    def recomputed_in_parts(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """The same for a function that treats the elements of the first axis one by one, as images or sequences.

        A large x is computed in several parts, so that what `function` needs for itself exists for one part at a time:
        in inference, and with recomputation in both passes of training.
        """
        if x.numel() <= MOST_VALUES:
            return self.recomputed(function, x)
        size = max(1, MOST_VALUES // x[0].numel())
        return torch.cat([self.recomputed(function, part) for part in x.split(size)])
