"""Reading label maps, and whether two of them lie on the same grid."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.evaluation.errors import CaseError

LARGEST_VALUE = 65535
"""nnU-Net writes label maps in 8 or 16 bits."""
TOLERANCE = 0.1
"""Corners of the two grids may differ by this part of the smallest voxel edge, as headers are rounded."""

ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd", ".gipl", ".png", ".bmp", ".tif", ".tiff")
"""What nnU-Net reads."""


@dataclass(frozen=True)
class LabelMap:
    """One segmentation on its grid."""

    values: NDArray[Any]
    """uint8 or uint16. Volumes (x, y, z), as NIfTI stores them and without reorientation; images (row, column)."""
    spacing: tuple[float, ...] | None
    """Voxel edges in mm, one per axis; None for images, which have no physical size."""
    affine: NDArray[np.float64] | None
    """From voxel indices to mm, shape (4, 4); None for images."""


def read(path: Path) -> LabelMap:
    """Read the label map at `path`.

    NIfTI is read with nibabel in the file's own type, which for a large CT takes an eighth of the memory of nnU-Net's
    reader; everything else is read by nnU-Net.

    Raises:
        CaseError: the file is not readable, or holds something else than label values.
    """
    try:
        if path.name.endswith((".nii", ".nii.gz")):
            return _read_nifti(path)
        return _read_as_nnunet(path)
    except CaseError as error:
        raise CaseError(f"{path.name} {error}") from error
    except Exception as error:  # every reader has errors of its own
        raise CaseError(f"{path.name} is not readable ({type(error).__name__}: {error})") from error


def difference(reference: LabelMap, prediction: LabelMap) -> str | None:
    """How the prediction's grid differs from the reference's, or None if they are the same."""
    if reference.values.shape != prediction.values.shape:
        return f"the prediction's shape is {prediction.values.shape}, the reference's {reference.values.shape}"
    if reference.affine is None or prediction.affine is None or reference.spacing is None:
        return None
    indices = np.indices((2, 2, 2)).reshape(3, -1) * (np.array(reference.values.shape)[:, None] - 1)
    corners = np.vstack([indices, np.ones(indices.shape[1])])
    away = np.linalg.norm(((reference.affine - prediction.affine) @ corners)[:3], axis=0).max()
    if away > TOLERANCE * min(reference.spacing):
        return (
            f"the prediction lies elsewhere: a corner of its volume is {away:.3g} mm from the reference's "
            "(origin, spacing or orientation differ)"
        )
    return None


def _read_nifti(path: Path) -> LabelMap:
    import nibabel

    image: Any = nibabel.load(path)
    if len(image.shape) != 3:
        raise CaseError(f"has {len(image.shape)} dimensions, expected are 3")
    spacing = tuple(float(edge) for edge in image.header.get_zooms())
    return LabelMap(_as_labels(np.asanyarray(image.dataobj)), spacing, np.asarray(image.affine, dtype=np.float64))


def _read_as_nnunet(path: Path) -> LabelMap:
    from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

    flat = _has_one_page(path) if path.suffix.lower() == ".tif" else path.suffix.lower() in (".png", ".bmp")
    if flat:
        channels, _ = NaturalImage2DIO().read_seg(str(path))
        if any(not np.array_equal(channel, channels[0]) for channel in channels[1:3]):
            raise CaseError("is a colour image (a palette reads as one); save the label values as grey levels")
        return LabelMap(_as_labels(channels[0, 0]), None, None)
    if path.suffix.lower() in (".tif", ".tiff"):
        values, properties = Tiff3DIO().read_seg(str(path))
        spacing = tuple(float(edge) for edge in properties["spacing"])[::-1]
        return LabelMap(_as_labels(values[0].T), spacing, np.diag([*spacing, 1.0]))
    values, properties = SimpleITKIO().read_seg(str(path))
    spacing = tuple(float(edge) for edge in properties["spacing"])[::-1]
    world = properties["sitk_stuff"]
    if len(world["origin"]) != 3:
        raise CaseError(f"has {len(world['origin'])} dimensions, expected are 3")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(world["direction"], (3, 3)) * spacing
    affine[:3, 3] = world["origin"]
    return LabelMap(_as_labels(values[0].T), spacing, affine)


def _has_one_page(path: Path) -> bool:
    """Whether a TIFF is a picture; nnU-Net takes it for a volume, too."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        return len(file.pages) == 1


def _as_labels(values: NDArray[Any]) -> NDArray[Any]:
    if values.size == 0:
        raise CaseError("has no voxels")
    smallest, largest = values.min(), values.max()
    if not (smallest >= 0 and largest <= LARGEST_VALUE):
        wrong = largest if smallest >= 0 else smallest
        raise CaseError(f"holds the value {wrong}; labels are integers from 0 to {LARGEST_VALUE}")
    labels = values.astype(np.uint8 if largest < 256 else np.uint16, copy=False)
    if values.dtype.kind == "f" and not np.array_equal(labels, values):
        wrong = values[labels != values].flat[0]
        raise CaseError(f"holds the value {wrong:g}; labels are integers from 0 to {LARGEST_VALUE}")
    return labels
