"""A real nnU-Net dataset from the MNI152 head that the package nilearn carries; nothing is downloaded.

The image is the skull-stripped T1 average of 152 heads (ICBM 2009a, nonlinear, symmetric), resampled to 1 mm. The
labels come from the template's tissue probability maps: at every voxel the most probable of background
(1 - grey - white), grey matter and white matter. Cerebrospinal fluid counts as background.

The template is left-right symmetric: its right half is a mirrored copy of its left half. A case from the right half
would therefore show the network, mirrored, what a case from the left half holds. Two rules keep the test honest:

* only the left half (x <= 0 mm) is used, so that no voxel occurs twice, neither between training and test cases nor
  between the five folds;
* training and test cases are cut apart along the anterior-posterior axis. The test cases are the frontal lobe in front
  of y = 30 mm; between it and the foremost training voxel lies a gap of 20 mm, half of a crop, that nobody sees.

Cases are crops of 40 x 40 x 40 voxels (40 mm). A crop that holds less than 10 % tissue is left out.
"""

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nnunet_ext.demo.dataset import Dataset
from nnunet_ext.demo.errors import DemoError

NAME = "Dataset001_MNI152"
LABELS = {"background": 0, "grey matter": 1, "white matter": 2}
EDGE = 40
"""Crop edge in voxels; a voxel is 1 mm."""
MINIMUM_TISSUE = 0.1
"""Fraction of a crop's voxels that must be grey or white matter."""
# First voxel of each crop. Voxel 0 lies at x = -98, y = -134, z = -72 mm; x = 98 is the midline.
X_STARTS = (19, 59)
TRAIN_Y_STARTS = (24, 64, 104)
TEST_Y_STARTS = (164,)
Z_STARTS = (0, 40, 80, 120)

SOURCE = (
    "ICBM 152 nonlinear symmetric template 2009a (T1, grey and white matter maps) of the Montreal Neurological "
    "Institute, as the package nilearn carries it. V. S. Fonov et al., Unbiased average age-appropriate atlases for "
    "pediatric studies, NeuroImage 54 (2011) 313-327, doi:10.1016/j.neuroimage.2010.07.033; V. S. Fonov et al., "
    "Unbiased nonlinear average age-appropriate brain templates from birth to adulthood, NeuroImage 47 (2009) S102."
)
LICENCE = (
    "Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill "
    "University. Permission to use, copy, modify, and distribute this software and its documentation for any purpose "
    "and without fee is hereby granted, provided that the above copyright notice appear in all copies."
)
"""The institute's notice on its ICBM 152 templates; nilearn's own description leaves the licence open."""
UNSEEN = (
    "The test cases are crops of the frontal lobe (y > 30 mm); every training voxel lies at least 20 mm behind them. "
    "Only the left half of the left-right symmetric template is used, so no mirrored copy of a test voxel is ever "
    "trained on."
)


@dataclass(frozen=True)
class Crop:
    """One case: a cube of `EDGE` voxels whose first voxel is `start` (x, y, z)."""

    name: str
    start: tuple[int, int, int]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The cube as an index into the template."""
        x, y, z = (slice(first, first + EDGE) for first in self.start)
        return x, y, z


def build(raw: Path) -> Dataset:
    """Write the dataset into `raw`, which must not hold it yet; DemoError if nilearn is missing."""
    image, labels, affine = _load()
    folder = raw / NAME
    count = {"Tr": 0, "Ts": 0}
    for part, y_starts in (("Tr", TRAIN_Y_STARTS), ("Ts", TEST_Y_STARTS)):
        for crop in crops(y_starts, labels):
            _write(image[crop.slices], crop, affine, folder / f"images{part}" / f"{crop.name}_0000.nii.gz")
            _write(labels[crop.slices], crop, affine, folder / f"labels{part}" / f"{crop.name}.nii.gz")
            count[part] += 1
    description = {
        "channel_names": {"0": "T1"},
        "labels": LABELS,
        "numTraining": count["Tr"],
        "file_ending": ".nii.gz",
        "name": "MNI152 tissue",
        "reference": SOURCE,
        "licence": LICENCE,
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=2) + "\n")
    (folder / "SOURCE.txt").write_text(f"{SOURCE}\n\n{LICENCE}\n\n{UNSEEN}\n")
    return describe(raw)


def describe(raw: Path) -> Dataset:
    """The dataset that `build` wrote into `raw`."""
    folder = raw / NAME
    return Dataset(folder, "MNI152 brain tissue", f"{SOURCE} {LICENCE}", UNSEEN, folder / "labelsTs")


def crops(y_starts: tuple[int, ...], labels: npt.NDArray[np.uint8]) -> Iterator[Crop]:
    """The crops with enough tissue whose first y is one of `y_starts`."""
    for x in X_STARTS:
        for y in y_starts:
            for z in Z_STARTS:
                crop = Crop(f"mni152_x{x:03d}_y{y:03d}_z{z:03d}", (x, y, z))
                if np.mean(labels[crop.slices] > 0) >= MINIMUM_TISSUE:
                    yield crop


def label_map(grey: npt.NDArray[np.float64], white: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """The most probable of background (0), grey matter (1) and white matter (2) at every voxel."""
    return np.argmax(np.stack([1 - grey - white, grey, white]), axis=0).astype(np.uint8)


def _load() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """T1 image, label map and affine (voxel -> mm) of the template at 1 mm."""
    try:
        from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template
    except ImportError as error:
        raise DemoError("The brain template needs the package nilearn: pip install 'nnunet-ext[demo]'.") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image, grey, white = (
            load(resolution=1) for load in (load_mni152_template, load_mni152_gm_template, load_mni152_wm_template)
        )
    labels = label_map(grey.get_fdata(), white.get_fdata())
    return image.get_fdata().astype(np.float32), labels, np.asarray(image.affine, dtype=np.float64)


def _write(voxels: npt.NDArray[np.generic], crop: Crop, affine: npt.NDArray[np.float64], path: Path) -> None:
    import nibabel

    # The crop keeps its place in the head: its affine maps its own voxel 0 to where that voxel was.
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ np.array(crop.start)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, moved), path)
