"""SIGTERM as Ctrl+C."""

import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from nnunet_ext.interrupt import sigterm_interrupts

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture(autouse=True)
def default_handler() -> Iterator[None]:
    """As in a command's process: Snakemake, which other tests call in this process, leaves a handler behind."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_interrupts_within_only() -> None:
    with pytest.raises(KeyboardInterrupt), sigterm_interrupts(), sigterm_interrupts():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_forked_processes_end_by_sigterm() -> None:
    """Pools end their processes so, and wait for them."""
    with sigterm_interrupts():
        child = multiprocessing.get_context("fork").Process(target=_stubborn)
        child.start()
        time.sleep(0.5)
        child.terminate()
        child.join(30)
    assert child.exitcode == -signal.SIGTERM


def _stubborn() -> None:
    for _ in range(100):
        try:
            time.sleep(1)
        except KeyboardInterrupt:
            continue
