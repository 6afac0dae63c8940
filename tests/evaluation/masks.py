"""Masks and label maps: random bodies, and real ones from ../shared/data."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
ANISOTROPIC = (0.7, 1.3, 5.0)


def body(seed: int, shape: tuple[int, ...] = (24, 30, 14), part: float = 0.2) -> NDArray[np.bool_]:
    """A smooth random body that reaches the border here and there, of `part` of the array."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return noise > np.quantile(noise, 1 - part)


def shifted(mask: NDArray, by: tuple[int, ...] = (2, 1, 1)) -> NDArray:
    """The same voxels, `by` voxels further, with zeros behind."""
    result = np.zeros_like(mask)
    to, from_ = (tuple(slice(a, b or None) for a, b in ends) for ends in ([(n, 0) for n in by], [(0, -n) for n in by]))
    result[to] = mask[from_]
    return result


def real(name: str) -> tuple[NDArray[np.uint8], tuple[float, ...]]:
    """A label map of ../shared/data with its spacing; skips the test where it does not lie beside the repository."""
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"the real label map shared/data/{name} does not lie beside the repository")
    image = nibabel.load(path)
    return np.asarray(image.dataobj).astype(np.uint8), tuple(float(edge) for edge in image.header.get_zooms())


def cut(values: NDArray, label: int, margin: int = 4) -> NDArray[np.bool_]:
    """One label with some voxels around it, for oracles that take minutes on a whole CT."""
    found = np.argwhere(values == label)
    box = tuple(slice(max(a - margin, 0), b + margin + 1) for a, b in zip(found.min(0), found.max(0), strict=True))
    return values[box] == label


def write(path: Path, values: NDArray, spacing: tuple[float, ...] = (1.0, 1.0, 1.0), shift: float = 0.0) -> None:
    """Save a volume, `shift` mm from the origin along x."""
    affine = np.diag([*spacing, 1.0])
    affine[0, 3] = shift
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.asarray(values, dtype=np.uint8), affine), path)
