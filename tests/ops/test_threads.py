"""Work in torch's threads."""

import signal
import threading
from collections.abc import Callable

import pytest
import torch

from nnunet_ext.ops import selective_scan
from nnunet_ext.ops.selective_scan import threads

from .scans import make_inputs


@pytest.fixture(params=["team", "pool"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Torch's own threads, or Python's where those cannot be had."""
    if request.param == "pool":
        monkeypatch.setattr(threads, "_parallel", lambda: None)
    elif threads._parallel() is None:
        pytest.skip("torch has no OpenMP that can be called")
    return str(request.param)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_as_many_threads_as_torch(kind: str, number: int) -> None:
    """nnU-Net's workers allow torch one thread each: then a scan must not start others."""
    torch.set_num_threads(number)
    together = threading.Barrier(number)
    seen: list[tuple[int, int]] = []

    def kernel(task: tuple[int, ...]) -> None:
        seen.append((*task, threading.get_ident()))
        together.wait(timeout=60)  # for as many calls at one time as there are threads

    threads.run(kernel, [(task,) for task in range(number)])
    assert sorted(task for task, _ in seen) == list(range(number))
    assert len({thread for _, thread in seen}) == number
    assert threading.get_ident() in {thread for _, thread in seen}


def test_every_task_once(kind: str) -> None:
    torch.set_num_threads(3)
    for count in (0, 1, 2, 100):
        seen: list[tuple[int, ...]] = []
        threads.run(seen.append, [(task,) for task in range(count)])
        assert sorted(seen) == [(task,) for task in range(count)]


@pytest.mark.parametrize("bad", [0, 57])
def test_an_error_is_raised_and_ends_the_work(kind: str, bad: int) -> None:
    torch.set_num_threads(2)
    seen: list[tuple[int, ...]] = []

    def kernel(task: tuple[int, ...]) -> None:
        if task == (bad,):
            raise ValueError(f"task {bad}")
        seen.append(task)

    with pytest.raises(ValueError, match=f"task {bad}"):
        threads.run(kernel, [(task,) for task in range(1000)])
    assert len(seen) < 999


def test_ctrl_c_is_not_lost(kind: str) -> None:
    torch.set_num_threads(2)
    together = threading.Barrier(2)

    def kernel(_: tuple[int, ...]) -> None:
        together.wait(timeout=60)
        if threading.current_thread() is threading.main_thread():
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        threads.run(kernel, [(0,), (1,)])


def test_the_numba_backend_works_in_these_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    tasks: list[int] = []
    run = threads.run

    def watched(kernel: Callable[[tuple[int, ...]], None], given: list[tuple[int, ...]]) -> None:
        tasks.append(len(given))
        run(kernel, given)

    monkeypatch.setattr(threads, "run", watched)
    torch.set_num_threads(1)
    selective_scan(**make_inputs(batch=8, length=3), backend="numba").sum().backward()
    assert tasks == [1, 1]
    torch.set_num_threads(2)
    selective_scan(**make_inputs(batch=8, length=3), backend="numba").sum().backward()
    assert tasks == [1, 1, 8, 8]
