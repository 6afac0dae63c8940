"""The sum of a network's outputs on overlapping tiles, rows of the image at a time, and over folds."""

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor

from nnunet_ext.inference.memory import Room

Keep = Callable[[int, Tensor], None]
"""Takes the first of some finished rows, and their logits (classes, rows, y, z)."""


class Slab:
    """The rows of an image, along its first axis, that tiles still add to.

    nnU-Net visits tiles in the order of their first row. So rows before the first one of a tile get no more, and only
    as many rows as a tile has are held. What a voxel gets, and in which order, is as in nnU-Net: so are its logits, to
    the last bit.
    """

    def __init__(self, shape: Sequence[int], device: torch.device, on_disk: bool, keep: Keep):
        """Args: shape (classes, rows of a tile, y, z); where to hold them; whom to give finished rows to."""
        self._room = Room(shape, on_disk=on_disk, device=device)
        self._weights = torch.zeros(*shape[1:], dtype=torch.half, device=device)
        self._first = 0
        self._keep = keep

    def add(self, logits: Tensor, weights: Tensor, where: tuple[slice, ...]) -> None:
        """Add the weighted `logits` (classes, rows, y, z) of a tile, which lies at `where` in y and z."""
        self._room.tensor[:, :, *where] += logits
        self._weights[:, *where] += weights

    def move_to(self, first: int) -> None:
        """Give away the rows before `first`.

        Raises:
            RuntimeError: a logit is infinite.
        """
        done = first - self._first
        if done == 0:
            return
        sums, rows = self._room.tensor, self._weights.shape[0]
        for logits in sums[:, :done]:
            logits /= self._weights[:done]
            if torch.isinf(logits).any():
                raise RuntimeError("the network's output is too large for half precision: some of it is infinite")
        self._keep(self._first, sums[:, :done])
        for part in (*sums, self._weights):  # one class at a time, as each is copied
            part[: rows - done] = part[done:].clone()
            part[rows - done :] = 0
        self._first = first
        self._room.let_go()


class FoldSum:
    """The logits of an image (classes, x, y, z), summed over folds, in memory if there is room for them."""

    def __init__(self, room: int):
        """Args: room, in bytes, for the logits and what comes after them."""
        self.room_left = room
        self.folds = 0
        self._room: Room | None = None
        self._next_row = 0

    @property
    def tensor(self) -> Tensor:
        """The sum."""
        assert self._room is not None
        return self._room.tensor

    def is_too_large(self, shape: Sequence[int]) -> bool:
        """Whether logits of that shape do not fit into what room is left."""
        return 2 * prod(shape) > self.room_left

    def make_room(self, shape: Sequence[int]) -> None:
        """For logits of that shape, if it is not made yet."""
        if self._room is None:
            on_disk = self.is_too_large(shape)
            self._room = Room(shape, on_disk=on_disk)
            self.room_left -= 0 if on_disk else 2 * prod(shape)

    def begin_fold(self) -> None:
        """What comes now is of the next fold."""
        self.folds += 1
        self._next_row = 0

    def keep(self, first: int, rows: Tensor) -> None:
        """Add a fold's finished rows, if they did not come before a device's memory turned out to be too small."""
        if first < self._next_row:
            return
        self._next_row = first + rows.shape[1]
        for mine, logits in zip(self.tensor, rows, strict=True):
            part = mine[first : self._next_row]
            if self.folds == 1:
                part.copy_(logits)
            else:
                part += logits.to(part.device)
        self.let_go()

    def let_go(self) -> None:
        """Take what is in a file out of memory."""
        assert self._room is not None
        self._room.let_go()
