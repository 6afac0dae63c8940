"""One three-dimensional case: NIfTI image and label map."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.funcs import squeeze_image

from nnunet_ext.datasets.benchmark import Benchmark, Case
from nnunet_ext.datasets.check import Geometry, check_image, check_positions, on_grid_of, orientation
from nnunet_ext.datasets.errors import CaseError
from nnunet_ext.datasets.labels import Labels, counts, remap
from nnunet_ext.datasets.record import Record
from nnunet_ext.datasets.source import File, named


def convert(case: Case, benchmark: Benchmark, geometry: Geometry, folder: Path) -> Record:
    """Write `folder`/images and `folder`/labels as nnU-Net names them; returns what was found.

    The image's file is copied as it is, unless it is not gzipped or has a fourth axis of length 1. The label map is
    written as uint8 with the image's header.

    Raises:
        CaseError: if something is wrong with the case.
        OSError: if a file cannot be read or written.
    """
    image = None
    for channel, file in enumerate(case.images):
        with named(file):
            image = _image(file, folder / "images" / f"{case.name}_{channel:04d}.nii.gz")
    assert image is not None
    record = Record(
        shape=list(image.shape),
        spacing=[round(float(edge), 6) for edge in image.header.get_zooms()[:3]],
        orientation=orientation(image),
    )
    if case.label is not None:
        with named(case.label):
            labels, notes = _labels(case.label, image, benchmark, geometry, folder)
        _save(labels, image, folder / "labels" / f"{case.name}.nii.gz")
        record.labels, record.notes = counts(labels), notes
    return record


def _image(file: File, target: Path) -> nib.Nifti1Image:
    downloaded = _fetch(file, target.parent.parent)
    image = _load(downloaded)
    squeezed = squeeze_image(image) if image.ndim > 3 else image
    check_image(squeezed)
    if squeezed is image and downloaded.suffix == ".gz":
        os.replace(downloaded, target)
    else:
        nib.save(squeezed, target)
        downloaded.unlink()
    return squeezed


def _labels(
    file: File, image: nib.Nifti1Image, benchmark: Benchmark, geometry: Geometry, folder: Path
) -> tuple[Labels, list[str]]:
    downloaded = _fetch(file, folder)
    label = _load(downloaded)
    if label.ndim > 3:
        label = squeeze_image(label)
    if label.ndim != 3:
        raise CaseError(f"the label map has {label.ndim} axes, expected 3")
    values, notes = on_grid_of(image, label, geometry)
    labels = remap(values, benchmark.label_map)
    downloaded.unlink()
    if geometry == "check":
        names = {name: value for name, value in benchmark.labels.items() if isinstance(value, int)}
        check_positions(labels, image.affine, names)
    return labels, notes


def _fetch(file: File, folder: Path) -> Path:
    # nibabel tells a compressed file by its name.
    target = folder / ("download.nii.gz" if file.name.lower().endswith(".gz") else "download.nii")
    file.copy_to(target)
    return target


def _load(path: Path) -> nib.Nifti1Image:
    image = nib.load(path)
    if not isinstance(image, nib.Nifti1Image):
        raise CaseError(f"the file is no NIfTI but {type(image).__name__}")
    return image


def _save(labels: Labels, image: nib.Nifti1Image, target: Path) -> None:
    header = image.header.copy()
    header.extensions.clear()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    nib.save(nib.Nifti1Image(labels, image.affine, header), target)
