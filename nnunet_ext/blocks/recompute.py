"""Recomputing activations in the backward pass instead of keeping them, which trades time for memory."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Recomputing(nn.Module):
    """A layer that computes `mix`, in training with recomputed activations if `recompute`.

    `mix` must not be random: no random state is kept.
    """

    def __init__(self, recompute: bool) -> None:
        super().__init__()
        self.recompute = recompute

    def forward(self, x: Tensor) -> Tensor:
        """What `mix` returns for x."""
        mix: Callable[[Tensor], Tensor] = self.mix
        if self.recompute and self.training and torch.is_grad_enabled():
            return checkpoint(mix, x, use_reentrant=False, preserve_rng_state=False)
        return mix(x)

    def mix(self, x: Tensor) -> Tensor:
        """The layer's output; subclasses define it."""
        raise NotImplementedError
