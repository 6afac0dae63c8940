"""Signals of a scheduler."""

import os
import signal

import pytest

from nnunet_ext.trainers.preemption import EXIT_TRY_AGAIN, LeaveAtOnce, Preemption


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_noted_and_handlers_are_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Preemption() as preemption:
        assert not preemption.requested
        os.kill(os.getpid(), number)
        assert preemption.requested
    assert signal.getsignal(number) == before


def test_with_nothing_to_save_it_leaves_at_once() -> None:
    with pytest.raises(SystemExit) as left, LeaveAtOnce():
        os.kill(os.getpid(), signal.SIGTERM)
    assert left.value.code == EXIT_TRY_AGAIN


@pytest.mark.parametrize(("number", "ends"), [(signal.SIGTERM, True), (signal.SIGUSR1, False)])
def test_a_forked_data_worker_ends_by_sigterm_only(number: signal.Signals, ends: bool) -> None:
    with Preemption() as preemption:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), number)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) == ends
        assert not preemption.requested
