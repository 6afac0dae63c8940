"""How much memory there is, and room in it or on the disk for what is too large."""

import itertools
import mmap
import os
import re
import tempfile
from collections.abc import Sequence
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from nnunet_ext.inference.control_groups import memory_groups

GIB = 2**30
UNKNOWN = 8 * GIB
"""Taken as free memory where the system does not tell."""

MEMINFO = Path("/proc/meminfo")

CGROUPS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Of a control group, by version 2 and version 1: limit, use, and the part of it that is only a cache of files."""


def available() -> int:
    """Bytes that this process may still take: what the machine has free, or the limit of a container or job leaves."""
    free = [_field(MEMINFO, "MemAvailable:", 1024)]
    for folder, (limit, used, cache) in itertools.product(memory_groups(), CGROUPS):
        most, now = _number(folder / limit), _number(folder / used)
        if most is not None and now is not None:
            free.append(most - now + (_field(folder / "memory.stat", cache, 1) or 0))
    return max(0, min((bytes_ for bytes_ in free if bytes_ is not None), default=UNKNOWN))


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdecimal() else None  # "max" is no limit


def _field(file: Path, name: str, unit: int) -> int | None:
    found = re.search(rf"^{name}\s+(\d+)", _text(file), re.MULTILINE)
    return int(found[1]) * unit if found else None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # another system, or a sandbox
        return ""


class Room:
    """A tensor of zeros, fp16, in memory or in a file without a name in TMPDIR, which vanishes with the process."""

    def __init__(self, shape: Sequence[int], *, on_disk: bool, device: torch.device | str = "cpu"):
        self._file = _file(2 * prod(shape)) if on_disk else None
        if self._file is None:
            self.tensor: Tensor = torch.zeros(*shape, dtype=torch.half, device=device)
        else:
            self.tensor = torch.frombuffer(self._file, dtype=torch.half).view(*shape)

    def let_go(self) -> None:
        """Take a file's pages out of this process's memory; what was written stays in the file."""
        if self._file is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._file.madvise(mmap.MADV_DONTNEED)


def _file(size: int) -> mmap.mmap:
    try:
        with tempfile.TemporaryFile(prefix="nnunet_ext_") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # a disk that is full later on would kill the process
            else:
                file.truncate(size)
            return mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise OSError(
            f"no room for {size / GIB:.1f} GiB of logits in {tempfile.gettempdir()} ({error.strerror}): "
            "set TMPDIR to a folder with more room, or give more --max-memory"
        ) from error
