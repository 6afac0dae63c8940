"""nnU-Net's image readers, and what they say, or do not say, of images that they cannot read."""

import contextlib
import gzip
import io
import logging
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.floating[Any]]
"""(channels, x, y, z), in the reader's axes."""
Properties = dict[str, Any]
"""The spacing, and the reader's own entries, which its writer needs."""

CHUNK = 1 << 24


class CaseError(Exception):
    """One case cannot be predicted, for a reason in one clause; other cases can."""


def read(reader: Any, images: Sequence[Path], previous: Path | None = None) -> tuple[Image, Properties, Image | None]:
    """Read a case.

    Args:
        reader: an instance of one of nnU-Net's classes of readers.
        images: one file for each channel, or one for all.
        previous: a label map that belongs to it.

    Raises:
        CaseError: a file cannot be read, or the images differ in size or spacing.
    """
    image, properties = _heard(lambda: reader.read_images(list(map(str, images))), images)
    if previous is None:
        return image, properties, None
    return image, properties, _heard(lambda: reader.read_seg(str(previous)), [previous])[0]


def _heard(function: Callable[[], tuple[Image, Properties]], files: Sequence[Path]) -> tuple[Image, Properties]:
    """Readers print what is wrong with images that differ, and raise an error without words, or go on."""
    names = ", ".join(file.name for file in files)
    said = io.StringIO()
    try:
        for file in files:
            _check_whole(file)
        with contextlib.redirect_stdout(said):
            result = function()
    except Exception as error:  # a damaged file makes them raise anything
        lines = said.getvalue().splitlines()[:1] or str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise CaseError(f"{names} cannot be read: {lines[0].strip()}") from error
    if said.getvalue():
        logging.getLogger(__name__).warning("%s: %s", names, " ".join(said.getvalue().split()))
    return result


def _check_whole(file: Path) -> None:
    """SimpleITK reads a NIfTI file whose end is missing, and says nothing."""
    if not file.name.endswith((".nii", ".nii.gz")):
        return
    image: Any = nibabel.load(file)
    needed = image.dataobj.offset + prod(image.shape) * image.get_data_dtype().itemsize
    if file.name.endswith(".nii"):
        there = file.stat().st_size
    elif _last_number(file) == needed % 2**32:  # the size of the content, unless it was compressed in parts
        return
    else:
        with gzip.open(file) as content:
            there = sum(len(chunk) for chunk in iter(lambda: content.read(CHUNK), b""))
    if there < needed:
        raise ValueError(f"{file.name} ends after {there} of {needed} bytes")


def _last_number(file: Path) -> int:
    with file.open("rb") as content:
        content.seek(-4, io.SEEK_END)
        return int.from_bytes(content.read(4), "little")
