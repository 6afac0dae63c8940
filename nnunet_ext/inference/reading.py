"""nnU-Net's image readers, and what they say of images that they cannot read."""

import contextlib
import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.floating[Any]]
"""(channels, x, y, z), in the reader's axes."""
Properties = dict[str, Any]
"""The spacing, and the reader's own entries, which its writer needs."""


class CaseError(Exception):
    """One case cannot be predicted, for a reason in one clause; other cases can."""


def read(reader: Any, images: Sequence[Path], previous: Path | None = None) -> tuple[Image, Properties, Image | None]:
    """Read a case.

    Args:
        reader: an instance of one of nnU-Net's classes of readers.
        images: one file for each channel.
        previous: a label map that belongs to it.

    Raises:
        CaseError: a file cannot be read, or the images differ in size or spacing.
    """
    image, properties = _heard(reader.read_images, list(map(str, images)), [file.name for file in images])
    if previous is None:
        return image, properties, None
    return image, properties, _heard(reader.read_seg, str(previous), [previous.name])[0]


def _heard(
    function: Callable[[Any], tuple[Image, Properties]], files: Any, names: Sequence[str]
) -> tuple[Image, Properties]:
    """Readers print what is wrong with images that differ, and raise an error without words, or go on."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            result = function(files)
    except Exception as error:  # a damaged file makes them raise anything
        lines = said.getvalue().splitlines()[:1] or str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise CaseError(f"{', '.join(names)} cannot be read: {lines[0].strip()}") from error
    if said.getvalue():
        logging.getLogger(__name__).warning("%s: %s", ", ".join(names), " ".join(said.getvalue().split()))
    return result
