"""Being asked to end."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

_outer: list[Any] = []
"""What SIGTERM did before each context that this process is in."""


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Within this context SIGTERM raises KeyboardInterrupt, as Ctrl+C does. For the main thread only."""
    _outer.append(signal.signal(signal.SIGTERM, _interrupt))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, _outer.pop())


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _forget() -> None:
    """Forked processes end as they did: pools end theirs by SIGTERM, and one that caught it would be waited for."""
    if _outer:
        signal.signal(signal.SIGTERM, _outer[0])


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)
