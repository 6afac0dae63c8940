"""Leaving in good order when a scheduler asks: SIGTERM and SIGUSR1."""

import os
import signal
import threading
from types import FrameType
from typing import Any

EXIT_TRY_AGAIN = 75
"""Exit code of a run that saved and left because it was asked to (EX_TEMPFAIL: "try again later")."""

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]


class Preemption:
    """While entered, notes SIGTERM and SIGUSR1 in `requested` instead of dying of them.

    Data workers are forked from the process that enters this and inherit its handlers. There SIGTERM ends the worker
    as always, and SIGUSR1, which schedulers send to every process of a job, is ignored.
    """

    def __init__(self) -> None:
        self.requested = False
        self._owner = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Preemption":
        """Install the handlers; only the main thread may, others change nothing."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Put the handlers back that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if os.getpid() == self._owner:
            self.asked()
        elif number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def asked(self) -> None:
        """Note the request; a later moment acts on it."""
        self.requested = True


class LeaveAtOnce(Preemption):
    """For phases with nothing to save: a request ends the process with `EXIT_TRY_AGAIN`."""

    def asked(self) -> None:
        """Leave."""
        raise SystemExit(EXIT_TRY_AGAIN)
