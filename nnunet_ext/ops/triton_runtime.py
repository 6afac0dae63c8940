"""Whether Triton can be used here, and what all launches of its kernels need. Importing this does not import triton.

Triton compiles for the GPU at hand when a kernel first runs, and keeps the result in TRITON_CACHE_DIR, by default a
folder of the user's home.
"""

import functools
import importlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from nnunet_ext.ops.loading import why_not_loaded

OLDEST = (3, 3)
"""The oldest Triton whose interpreter and compiler were seen to run the kernels."""

_assumed: ContextVar[bool] = ContextVar("assumed", default=False)


@contextmanager
def assumed() -> Iterator[None]:
    """Inside, Triton counts as working wherever it is installed: for tensors that have only a shape."""
    token = _assumed.set(True)
    try:
        yield
    finally:
        _assumed.reset(token)


def is_assumed() -> bool:
    """Whether this runs inside `assumed`."""
    return _assumed.get()


def problem(device_type: str | None) -> str | None:
    """Why Triton cannot be used on that type of device (None: on any device of this machine); None if it can be."""
    if is_assumed():
        return _why_not_triton()
    if device_type in (None, "cpu") and interpreted():
        return None
    if device_type not in (None, "cuda"):
        return f"it needs a CUDA device, not {device_type}"
    if not torch.cuda.is_available():
        return "it needs a CUDA device, and torch sees none"
    return _why_not_triton() or _why_it_does_not_run()


@functools.cache
def interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels, on CPU tensors: very slowly, for tests.

    It does with TRITON_INTERPRET=1 in the environment when the kernels are first imported.
    """
    return os.environ.get("TRITON_INTERPRET", "0") == "1" and _why_not_triton() is None


@functools.cache
def _why_not_triton() -> str | None:
    """Why Triton does not load, or is older than what the kernels are written for; None if it can be used."""
    return why_not_loaded("triton.language", "Triton") or _why_too_old()


def _why_too_old() -> str | None:
    version: str = importlib.import_module("triton").__version__
    major, minor = (int(number) for number in re.findall(r"\d+", version)[:2])
    if (major, minor) >= OLDEST:
        return None
    return f"Triton {version} is too old: version {OLDEST[0]}.{OLDEST[1]} or later is needed, which torch 2.7 brings"


@functools.cache
def _why_it_does_not_run() -> str | None:
    """Why kernels fail on this GPU (no C compiler, an old GPU, nowhere to write the cache); None if they work."""
    try:
        importlib.import_module("nnunet_ext.ops.triton_probe").run()
    except torch.OutOfMemoryError:  # says nothing of the kernels
        raise
    except Exception as error:  # Triton's own, the driver's, the operating system's
        return f"Triton's kernels do not run on this GPU: {type(error).__name__}: {error}"
    return None


def multiprocessors(device: torch.device) -> int:
    """How many there are on a GPU; 1 stands for the interpreter."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def rows(x: Tensor) -> Tensor:
    """(B, D, L) as (B * L, D), or (K, B, D, L) as (K, B * L, D), a row without gaps; copied only if it must be."""
    flat = x.transpose(-1, -2).flatten(-3, -2)
    return flat if flat.stride(-1) == 1 else flat.contiguous()


def row_strides(*tensors: Tensor | None) -> list[int]:
    """For each tensor of `rows`, how many elements lie between two scans and between two rows; zeros for None."""
    strides: list[int] = []
    for x in tensors:
        strides += [0, 0] if x is None else [x.stride(0) if x.ndim == 3 else 0, x.stride(-2)]
    return strides
