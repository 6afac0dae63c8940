"""The folders of nnU-Net and the folders where compiled kernels are kept."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from nnunet_ext.cache import cache_folder
from nnunet_ext.doctor.check import Check, fail, ok, sentence, warn

WRITTEN = {"nnUNet_raw": False, "nnUNet_preprocessed": True, "nnUNet_results": True}
"""nnU-Net's folders, and whether training writes there."""

DISK_NEEDED = 10 * 2**30
GIB = 2**30


def checks() -> Iterable[Check]:
    """nnU-Net's three folders, then the caches."""
    for variable, written in WRITTEN.items():
        yield _nnunet_folder(variable, written)
    yield _cache("numba", "NUMBA_CACHE_DIR", cache_folder)
    if sys.platform.startswith("linux"):
        yield _cache("triton", "TRITON_CACHE_DIR", lambda: Path.home() / ".triton" / "cache")


def _nnunet_folder(variable: str, written: bool) -> Check:
    value = os.environ.get(variable)
    if not value:
        return warn(variable, "not set; training and nnUNetv2_predict need it", f"export {variable}=/your/folder")
    folder = Path(value)
    if not folder.is_dir():
        return fail(variable, f"{value} does not exist", f'mkdir -p "{value}", or correct the variable')
    if written and (problem := _not_writable(folder)):
        return fail(
            variable, f"{value} cannot be written: {problem}", f"get the right to write there, or change {variable}"
        )
    free = shutil.disk_usage(folder).free
    space = f"{value}, {free / GIB:.0f} GiB free"
    if written and free < DISK_NEEDED:
        return warn(variable, space, "make room: preprocessed data sets and results take tens of GiB")
    return ok(variable, space)


def _cache(name: str, variable: str, default: Callable[[], Path]) -> Check:
    title = f"{name}'s cache"
    try:
        folder = Path(os.environ.get(variable) or default())
    except RuntimeError as error:  # a user without a home, as in containers
        problem = sentence(error)
    else:
        reason = _not_writable(_existing(folder))
        if not reason:
            return ok(title, str(folder))
        problem = f"{folder} cannot be written ({reason})"
    return warn(
        title, f"{problem}, so kernels are compiled at every start", f"export {variable}=/a/folder/that/you/can/write"
    )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists: caches are made when first used."""
    return next(path for path in [folder, *folder.absolute().parents] if path.exists())


def _not_writable(folder: Path) -> str:
    """Why no file can be made in the folder, empty if one can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or sentence(error)
