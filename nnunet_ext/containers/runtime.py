"""What the programs in an image share: limits set before numpy and torch are imported, words, whole files."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from nnunet_ext import _startup, cores
from nnunet_ext.containers import caches, challenges
from nnunet_ext.containers.errors import CaseError

MOST_THREADS = 16
"""In each pool. grand-challenge.org allows a container 128 threads, whatever the number of the machine's CPUs."""
POOLS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_MAX_THREADS", "NUMBA_NUM_THREADS"),
    *("BLOSC_NTHREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "nnUNet_def_n_proc"),
)


def prepare() -> None:
    """Limit the threads, restore caches, tell nnU-Net of our trainers, and let torch load nothing but weights."""
    for pool in POOLS:
        os.environ.setdefault(pool, str(min(MOST_THREADS, cores.usable())))
    caches.compile_portably()
    caches.restore(Path(challenges.HOME), Path(challenges.CACHES))
    # nnU-Net asks for everything that a checkpoint holds, code included; this overrules it.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    for name in (
        "nnUNet_raw",
        "nnUNet_preprocessed",
        "nnUNet_results",
    ):  # not used; nnU-Net warns where they are absent
        os.environ.setdefault(name, str(Path(tempfile.gettempdir(), name)))
    _startup.register()


def say(text: str) -> None:
    """One line for the organisers' log."""
    sys.stderr.write(f"nnunet-ext: {text}\n")


def reason(error: Exception) -> str:
    """An error in one line; its type, too, unless it is one of ours."""
    said = " ".join(str(error).split())[:400]
    return said if isinstance(error, CaseError) else f"{type(error).__name__}: {said}"


def write_whole(target: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file with the ending of `target`, and give it its name when it is whole."""
    part = target.with_name(f".part.{target.name}")
    try:
        write(part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
