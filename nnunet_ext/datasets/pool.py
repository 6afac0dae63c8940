"""Many cases at once, in processes that end with this one."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from nnunet_ext.datasets import worker
from nnunet_ext.datasets.benchmark import Benchmark, Case
from nnunet_ext.datasets.building import Building
from nnunet_ext.datasets.check import Geometry
from nnunet_ext.datasets.errors import ConvertError


def outcomes_of(
    cases: Sequence[Case], benchmark: Benchmark, geometry: Geometry, building: Building, n_processes: int
) -> Generator[worker.Outcome, None, None]:
    """How each case went, in the order in which they end; closing the iterator starts no further case.

    Raises:
        ConvertError: if a process was killed.
    """
    if n_processes == 1 or len(cases) < 2:
        for case in cases:
            yield worker.run(case, benchmark, geometry, building)
        return
    pool = ProcessPoolExecutor(
        min(n_processes, len(cases)), mp_context=multiprocessing.get_context("spawn"), initializer=_prepare_process
    )
    try:
        futures = [pool.submit(worker.run, case, benchmark, geometry, building) for case in cases]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise ConvertError(
            "A process ended without a word, most likely for lack of memory: run the same command again with fewer, "
            "such as -np 1. Finished cases are kept."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_process() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the parent handles it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A worker of a killed parent would wait for its next case for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
