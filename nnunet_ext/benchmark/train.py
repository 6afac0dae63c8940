"""The step that trains one fold: from where an earlier attempt stopped, on a device of its own, once at a time."""

import logging
import os
from contextlib import ExitStack
from pathlib import Path

from nnunet_ext import _startup
from nnunet_ext.benchmark import nnunet
from nnunet_ext.benchmark import plan as planning
from nnunet_ext.benchmark.devices import VARIABLE, leased, needs_lease, visible_devices
from nnunet_ext.benchmark.errors import BenchmarkError
from nnunet_ext.benchmark.matrix import Fold, Plan
from nnunet_ext.benchmark.results import FoldResults
from nnunet_ext.locks import Lock
from nnunet_ext.trainers.preemption import LeaveAtOnce

logger = logging.getLogger(__name__)


def train(benchmark: Path, fold: Fold, device: str) -> None:
    """Train and validate the fold, or what is left of it.

    Args:
        benchmark: the benchmark's folder.
        fold: what to train.
        device: "auto", "cuda", "mps" or "cpu".

    Raises:
        LockedError: if a living process has the fold.
        BenchmarkError: if nnU-Net cannot train it.
        SystemExit: with the code 75 if SIGTERM or SIGUSR1 asked to leave; another attempt continues.
    """
    results = FoldResults(fold)
    data = fold.dataset
    with Lock(results.lock) as lock, ExitStack() as stack:
        if results.is_done():
            return
        planning.check(Plan(data.name, data.plans, (data.configuration,)))
        for name in results.remove_damaged_checkpoints():
            logger.warning("%s was cut off, and is removed", results.folder / name)
        # Stock trainers know no signals: nnU-Net's own then leaves at its last checkpoint. Ours save first.
        stack.enter_context(LeaveAtOnce())
        devices = visible_devices() if device in ("auto", "cuda") else []
        if needs_lease(devices):
            # Before anything asks torch for its devices.
            os.environ[VARIABLE] = stack.enter_context(leased(benchmark, devices))
        _startup.register()
        _run(fold, results, device, lock)
        if not results.is_done():
            raise BenchmarkError(f"nnU-Net ended without a summary of the validation in {results.folder}.")


def _run(fold: Fold, results: FoldResults, device: str, lock: Lock) -> None:
    from nnunet_ext.benchmark.record import recorded
    from nnunet_ext.demo.errors import DemoError
    from nnunet_ext.demo.main import choose_device

    try:
        device = choose_device(device)
    except DemoError as error:
        raise BenchmarkError(str(error)) from error
    data = fold.dataset
    with recorded(results, device, lock.taken_from):
        nnunet.run(
            "nnUNetv2_train",
            *(data.name, data.configuration, fold.fold, "-tr", fold.trainer, "-p", data.plans, "-device", device),
            "--val" if results.is_trained() else "--c",
        )
