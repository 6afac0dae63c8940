"""Trying out a kernel, which can happen while a graph is being recorded."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.utils._python_dispatch import _disable_current_modes


@contextmanager
def on_real_tensors() -> Iterator[None]:
    """Within it tensors are real ones and nothing is recorded, also inside of torch.export and of fake tensors."""
    with _disable_current_modes():
        yield
