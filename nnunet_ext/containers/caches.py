"""What programs compute once and keep: compiled kernels, the list of fonts.

An image holds it, and each start copies it to where it can be written: the image is read-only, and numba and Matplotlib
use only caches that they could write to.
"""

import contextlib
import os
import platform
import shutil
from pathlib import Path

FOLDER = "caches"
"""In the image, below our folder."""
PORTABLE_CPU = "x86-64-v3"
"""What numba compiles for: kernels for the CPU of the build would be compiled again on any other."""

_FLAGS = {"avx", "avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "movbe"}
"""Linux's names of what that CPU can do."""


def keep(caches: Path, home: Path) -> None:
    """At the end of a build: move what was filled to where it stays."""
    if caches.is_dir():
        shutil.copytree(caches, home / FOLDER, dirs_exist_ok=True)
        shutil.rmtree(caches)


def restore(home: Path, caches: Path) -> None:
    """At the start of a container: copy what the image holds, unless something is there."""
    if not caches.exists() and (home / FOLDER).is_dir():
        with contextlib.suppress(OSError):  # no room, or nowhere to write: then all is computed once more
            shutil.copytree(home / FOLDER, caches)


def compile_portably(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Let numba compile for any CPU since 2013 (AVX2), if this one can run that; before numba is imported."""
    if platform.machine() != "x86_64" or not cpuinfo.is_file():
        return
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    if set(flags) >= _FLAGS:
        os.environ.setdefault("NUMBA_CPU_NAME", PORTABLE_CPU)
        os.environ.setdefault("NUMBA_CPU_FEATURES", "")
