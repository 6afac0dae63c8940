"""How long some work takes, and how much memory."""

import ctypes
import gc
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long it takes until the device has done the work."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class PeakMemory:
    """A context that counts the most memory in use at any time within it, besides what was in use before.

    On CUDA that of torch's allocator. On the CPU the process's resident set, which Linux keeps the peak of; the heap is
    trimmed first, as the work would otherwise use freed memory that still counts as the process's.

    Attributes:
        bytes: the result, once the context is left; None where nobody counts.
    """

    bytes: int | None = None

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __enter__(self) -> "PeakMemory":
        """Begin to count."""
        gc.collect()
        if self.device.type == "cuda":
            synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before: int | None = torch.cuda.memory_allocated(self.device)
        else:
            self.before = _forget_peak() if self.device.type == "cpu" else None
        return self

    def __exit__(self, *_: object) -> None:
        """Count."""
        if self.before is not None:
            cuda = self.device.type == "cuda"
            peak = torch.cuda.max_memory_allocated(self.device) if cuda else _resident("VmHWM")
            self.bytes = peak - self.before


def _forget_peak() -> int | None:
    """Make the present resident set of this process its peak, and return it; None if the system does not let us."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        return _resident("VmRSS")
    except (AttributeError, OSError):  # a C library without it; a sandbox without it
        return None


def _resident(field: str) -> int:
    """Bytes: VmRSS, the resident set, or VmHWM, its peak."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {field}")
    return 1024 * int(found[1])
