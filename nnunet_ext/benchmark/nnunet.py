"""nnU-Net's commands, run inside this process: a kill of the process that holds a lock is a kill of the work."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import distribution

from nnunet_ext import cores, slurm


def run(command: str, *arguments: object) -> None:
    """Run one of nnU-Net's commands as its console script would; SystemExit if it leaves with a code."""
    (entry,) = distribution("nnunetv2").entry_points.select(group="console_scripts", name=command)
    main: Callable[[], object] = entry.load()
    words = [command, *map(str, arguments)]
    before = sys.argv
    sys.argv = words
    try:
        main()
    finally:
        sys.argv = before


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables while the block runs."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def workers(n_trainings: int = 1) -> dict[str, str]:
    """nnU-Net's numbers of worker processes for the cores that this job has; what the user has set stays.

    Args:
        n_trainings: how many trainings share the machine, outside of SLURM.
    """
    n_cores = slurm.cores() or max(1, cores.usable() // n_trainings)
    wanted = {"nnUNet_n_proc_DA": str(min(12, n_cores)), "nnUNet_def_n_proc": str(min(8, n_cores))}
    return {name: value for name, value in wanted.items() if name not in os.environ}
