"""One two-dimensional case: a picture and its mask, written as PNG."""

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from nnunet_ext.datasets.benchmark import Benchmark, Case
from nnunet_ext.datasets.errors import CaseError
from nnunet_ext.datasets.labels import counts, remap
from nnunet_ext.datasets.record import Record
from nnunet_ext.datasets.source import File, named

GREY = ("L", "I;16", "I;16B", "I")
"""Pillow's modes of one channel: 8 bits, 16 in either order of bytes, and 32."""
ORIENTATION = 0x0112
"""The EXIF tag in which a camera says how the picture is to be turned."""
BITS_PER_SAMPLE = 0x0102
"""A TIFF tag."""
LARGEST_VALUE = 65535
"""Of a PNG."""


def convert(case: Case, benchmark: Benchmark, folder: Path) -> Record:
    """Write `folder`/images and `folder`/labels as nnU-Net names them; returns what was found.

    A PNG that nnU-Net reads as it is, is copied. Any other picture is decoded and written as PNG, without loss.

    Raises:
        CaseError: if something is wrong with the case.
        OSError: if a file cannot be read or written.
    """
    (image,) = case.images
    values = None
    if case.label is not None:
        with named(case.label):
            values = mask_values(_open(_fetch(case.label, folder, "mask")), benchmark.coloured_palettes)
    with named(image):
        downloaded = _fetch(image, folder, "picture")
        opened = _open(downloaded)
    picture = _upright(opened, None if values is None else (values.shape[1], values.shape[0]))
    picture = _channels(picture, len(benchmark.channel_names))
    target = folder / "images" / f"{case.name}_0000.png"
    if picture is opened and picture.format == "PNG" and "transparency" not in picture.info:
        shutil.copyfile(downloaded, target)
    else:
        picture.save(target)
    record = Record(shape=list(picture.size), spacing=[], orientation="")
    if values is not None:
        labels = remap(values, benchmark.label_map)
        share = float((labels > 0).mean())
        if share > benchmark.largest_foreground:
            raise CaseError(
                f"{share:.0%} of the picture would be foreground, expected at most {benchmark.largest_foreground:.0%}: "
                f"the mask is inverted or coded in another way"
            )
        Image.fromarray(labels).save(folder / "labels" / f"{case.name}.png")
        record.labels = counts(labels)
    return record


def mask_values(mask: Image.Image, coloured_palettes: bool) -> npt.NDArray[np.generic]:
    """The label values (height, width) that a mask file holds.

    Grey pictures hold them as their grey values, black and white ones as 0 and 255. With a palette of greys it is the
    grey values that count; with one of colours the indices, or it is an error.

    Args:
        mask: of any of Pillow's modes.
        coloured_palettes: whether a palette of colours is allowed.

    Raises:
        CaseError: if it is not clear which values are meant.
    """
    if mask.format in ("JPEG", "MPO"):
        raise CaseError("the mask is a JPEG, whose edges hold made-up values; it is needed as PNG or BMP")
    if mask.mode == "1":
        return np.asarray(mask.convert("L"))
    if mask.mode in GREY:
        return np.asarray(mask)
    if mask.mode == "P":
        indices = np.asarray(mask)
        palette = np.array(mask.getpalette("RGB"), np.uint8).reshape(-1, 3)
        used = palette[np.unique(indices)]
        if (used == used[:, :1]).all():
            return palette[:, 0][indices]
        if coloured_palettes:
            return indices
        raise CaseError("the mask has a palette of colours, which say nothing about the labels; grey values are needed")
    channels = np.asarray(mask)
    if mask.mode in ("LA", "RGBA"):
        if (channels[..., -1] != 255).any():
            raise CaseError("the mask is partly transparent, so that its values are not certain")
        channels = channels[..., :-1]
    elif mask.mode != "RGB":
        raise CaseError(f"the mask has Pillow's mode {mask.mode}; grey values or a palette are needed")
    if (channels != channels[..., :1]).any():
        raise CaseError("the mask is coloured; each label needs a grey value or a palette index of its own")
    return channels[..., 0]


def _upright(picture: Image.Image, mask_size: tuple[int, int] | None) -> Image.Image:
    """The picture as the mask was drawn on it, which is not certain where a camera asks for a turn."""
    turned = picture
    if picture.getexif().get(ORIENTATION, 1) != 1:
        turned = ImageOps.exif_transpose(picture)
        if turned.size == picture.size or mask_size is None:
            raise CaseError(
                "the picture's EXIF tag asks for a turn, and it is not certain that the mask was turned too"
            )
    if mask_size is None or picture.size == mask_size:
        return picture
    if turned.size == mask_size:
        return turned
    width, height = picture.size
    raise CaseError(f"the picture has {width} x {height} pixels, its mask {mask_size[0]} x {mask_size[1]}")


def _channels(picture: Image.Image, n_channels: int) -> Image.Image:
    """The picture with one or three channels, unchanged where it has them."""
    if picture.mode in ("LA", "RGBA"):
        if picture.getchannel("A").getextrema() != (255, 255):
            raise CaseError("the picture is partly transparent")
        picture = picture.convert(picture.mode[:-1])
    elif picture.mode == "P":
        picture = picture.convert("RGB")
    elif picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode == "I":
        picture = _sixteen_bits(picture)
    found = {"RGB": 3} | dict.fromkeys(GREY, 1)
    if picture.mode not in found:
        raise CaseError(f"the picture has Pillow's mode {picture.mode}; grey or RGB is needed")
    if found[picture.mode] != n_channels:
        raise CaseError(f"the picture has {found[picture.mode]} channel(s), expected {n_channels}")
    return picture


def _sixteen_bits(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture)
    smallest, largest = int(values.min()), int(values.max())
    if smallest < 0 or largest > LARGEST_VALUE:
        wrong = largest if smallest >= 0 else smallest
        raise CaseError(f"the picture holds the value {wrong}, expected 0 to {LARGEST_VALUE}")
    return Image.fromarray(values.astype(np.uint16))


def _open(path: Path) -> Image.Image:
    picture = Image.open(path)
    n_frames = getattr(picture, "n_frames", 1)
    if n_frames != 1 and picture.format != "MPO":  # a JPEG with a preview
        raise CaseError(f"the file holds {n_frames} pictures, expected one")
    if picture.mode in ("RGB", "RGBA") and max(getattr(picture, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))) > 8:
        raise CaseError("the file has 16 bits in each colour, of which reading it keeps 8; save it as PNG")
    picture.load()  # so that a damaged file is found here
    return picture


def _fetch(file: File, folder: Path, kind: str) -> Path:
    target = folder / f"{kind}_{Path(file.name).name}"  # often both have one name
    file.copy_to(target)
    return target
