"""A tiny patient, whose organs lie where they lie in people, and the files that are made of it."""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from PIL import Image

SHAPE = (20, 12, 20)
# First voxel of a cube of 2 x 2 x 2, counted to the right, to the front and upwards.
PLACES = {
    "liver": (15, 8, 14),
    "right kidney": (14, 3, 10),
    "spleen": (3, 4, 14),
    "pancreas": (9, 6, 11),
    "aorta": (9, 3, 12),
    "inferior vena cava": (11, 3, 12),
    "right adrenal gland": (13, 3, 14),
    "left adrenal gland": (6, 3, 14),
    "adrenal glands": (9, 2, 15),
    "gallbladder": (13, 9, 11),
    "esophagus": (9, 5, 17),
    "stomach": (5, 8, 15),
    "duodenum": (12, 6, 9),
    "left kidney": (5, 3, 10),
    "portal and splenic vein": (11, 6, 13),
    "colon": (16, 9, 6),
    "intestine": (8, 9, 6),
    "bladder": (10, 9, 2),
    "prostate/uterus": (10, 6, 1),
    "rectum": (10, 3, 2),
    "left femur head": (4, 5, 2),
    "right femur head": (16, 5, 2),
    # Structures of ACDC and ATLAS, whose places nothing checks.
    "RV": (14, 8, 10),
    "MLV": (9, 6, 10),
    "LVC": (6, 6, 10),
    "tumour": (15, 9, 12),
}


def label_map(names: Sequence[str], codes: str = "LPS", scale: int = 1, dtype: str = "uint8") -> nib.Nifti1Image:
    """The organs `names`, numbered from 1 on."""
    labels = np.zeros(SHAPE, dtype)
    for value, name in enumerate(names, start=1):
        labels[tuple(slice(first, first + 2) for first in PLACES[name])] = value
    return nifti(np.kron(labels, np.ones((scale,) * 3, dtype)), codes)


def nifti(values: np.ndarray, codes: str = "LPS") -> nib.Nifti1Image:
    """Values given to the right, front and top, stored in the order of `codes`."""
    affine = np.diag([2.0, 2.0, 2.5, 1.0])
    affine[:3, 3] = -17.3, -12.1, 5.7
    image = nib.Nifti1Image(values, affine)
    return image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(codes)))


def image_of(label: nib.Nifti1Image, seed: int = 0) -> nib.Nifti1Image:
    """A noisy int16 image on the label map's grid, brighter where labels are."""
    noise = np.random.default_rng(seed).integers(-50, 50, label.shape)
    values = np.where(np.asanyarray(label.dataobj) > 0, 150, -800) + noise
    return nib.Nifti1Image(values.astype(np.int16), label.affine)


def save(image: nib.Nifti1Image, *path: str | Path) -> Path:
    target = Path(*path)
    target.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, target)
    return target


def mask(size: tuple[int, int] = (24, 20)) -> np.ndarray:
    """A REFUGE mask (height, width): cup 0, rim 128, background 255, and greys between them."""
    width, height = size
    values = np.full((height, width), 255, np.uint8)
    values[6:14, 6:16] = 128
    values[8:12, 8:13] = 0
    values[6, 6:16] = 200  # between background and rim: background
    values[8, 8:13] = 60  # between rim and cup: cup
    return values


def photograph(values: np.ndarray, seed: int = 0) -> Image.Image:
    """A colour picture of the size of a mask."""
    noise = np.random.default_rng(seed).integers(0, 60, (*values.shape, 3))
    return Image.fromarray((noise + (255 - values[..., None]) // 2).astype(np.uint8))
