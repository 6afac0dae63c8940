"""Being asked to end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Within this context SIGTERM raises KeyboardInterrupt, as Ctrl+C does. For the main thread only."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
