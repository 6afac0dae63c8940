"""Learning rates per epoch, for the recipes of the networks' authors."""

from collections.abc import Callable

import torch
from torch.optim.lr_scheduler import LRScheduler


class EpochSchedule(LRScheduler):
    """A learning rate that depends on the epoch alone.

    Like nnU-Net's own, and unlike torch's, it may be told the epoch: a training that continues needs no state of it.

    Args:
        optimizer: all its groups get the same rate.
        rate: the learning rate of an epoch, counted from 0.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, rate: Callable[[int], float]) -> None:
        self.rate = rate
        self.epoch = -1
        super().__init__(optimizer)

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rate of an epoch; None, of the next one."""
        self.epoch = self.epoch + 1 if epoch is None else epoch
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.epoch)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
