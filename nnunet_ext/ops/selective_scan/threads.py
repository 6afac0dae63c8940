"""Work in as many threads as torch uses, for kernels that run without the GIL.

On Linux these are torch's own threads: its OpenMP team waits for work by spinning, so that other threads would have to
share the cores with it for some milliseconds after every operation of torch. Where that team cannot be had, and after
a fork, which it does not survive, Python's threads do the work.
"""

import ctypes
import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

_TEAM_MEMBER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def run(kernel: Callable[[tuple[int, ...]], None], tasks: Iterable[tuple[int, ...]]) -> None:
    """Call the kernel once with each task; an error of a call ends the work and is raised here."""
    queue = deque(tasks)
    errors: list[BaseException] = []

    def work(_: object = None) -> None:
        try:
            while queue and not errors:
                kernel(queue.popleft())
        except IndexError:  # another thread was faster
            pass
        except BaseException as error:  # what leaves a function that C has called is lost: Ctrl+C, too
            errors.append(error)

    threads = torch.get_num_threads()
    if threads == 1 or len(queue) <= 1:
        work()
    elif not _forked and (parallel := _parallel()) is not None:
        # Always the whole team: libgomp makes its threads anew when their number changes.
        parallel(_TEAM_MEMBER(work), None, threads, 0)
    else:
        futures = [_threads().submit(work) for _ in range(min(threads, len(queue)) - 1)]
        work()
        for future in futures:
            future.result()
    if errors:
        raise errors[0]


@functools.cache
def _parallel() -> Any:
    """GOMP_parallel of the OpenMP library that torch is linked to: runs a function in each thread of the team.

    libgomp's, or the same entry of LLVM's and Intel's; None where torch has none of them, as on Windows and macOS.
    """
    try:
        parallel = ctypes.CDLL(str(Path(torch.__file__).with_name("lib") / "libtorch_cpu.so")).GOMP_parallel
    except (OSError, AttributeError):
        return None
    parallel.argtypes, parallel.restype = [_TEAM_MEMBER, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return parallel


_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()
_forked = False


def _threads() -> ThreadPoolExecutor:
    """The pool of this process; its threads start when they are needed."""
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max_workers=max(64, os.cpu_count() or 1), thread_name_prefix="selective_scan")
        return _pool


def _forget_threads() -> None:
    """Threads do not survive a fork, and a lock may have been held during it."""
    global _pool, _pool_lock, _forked
    _pool, _pool_lock, _forked = None, threading.Lock(), True


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_threads)
