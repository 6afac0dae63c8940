"""The template's cases: training and test regions disjoint in space, also mirrored, and labels that fit the image."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nnunet_ext.demo import mni152

pytest.importorskip("nilearn")

MIDLINE = 98  # voxel whose x is 0 mm
GAP = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mni152.build(tmp_path_factory.mktemp("raw")).folder


def _corners(folder: Path, part: str) -> list[np.ndarray]:
    """First voxel (x, y, z) of every case in the whole head, from the affine alone."""
    head = np.array([-98.0, -134.0, -72.0])
    files = sorted((folder / f"labels{part}").iterdir())
    return [np.rint(nibabel.load(file).affine[:3, 3] - head).astype(int) for file in files]


def _mask(corners: list[np.ndarray], mirrored: bool) -> np.ndarray:
    mask = np.zeros((2 * MIDLINE + 1, 233, 189), dtype=bool)
    for x, y, z in corners:
        mask[x : x + mni152.EDGE, y : y + mni152.EDGE, z : z + mni152.EDGE] = True
    return mask | mask[::-1] if mirrored else mask


def test_template_is_left_right_symmetric() -> None:
    # The reason for the split along anterior-posterior; if this changes, the rule may change too.
    image, _, _ = mni152._load()
    np.testing.assert_allclose(image, image[::-1], atol=1e-6)


def test_training_and_test_regions_are_disjoint_also_mirrored(folder: Path) -> None:
    train, test = _corners(folder, "Tr"), _corners(folder, "Ts")
    for mirrored in (False, True):
        assert not np.any(_mask(train, mirrored) & _mask(test, False))


def test_gap_between_regions(folder: Path) -> None:
    foremost = max(corner[1] + mni152.EDGE for corner in _corners(folder, "Tr"))
    hindmost = min(corner[1] for corner in _corners(folder, "Ts"))
    assert hindmost - foremost >= GAP


def test_no_voxel_occurs_twice_in_training(folder: Path) -> None:
    corners = _corners(folder, "Tr")
    count = sum((_mask([corner], False).astype(int) for corner in corners), start=np.zeros((1, 1, 1), dtype=int))
    assert count.max() == 1
    # Only the left half and the midline, so no case is a mirrored copy of another.
    assert max(corner[0] + mni152.EDGE for corner in corners) <= MIDLINE + 1


def test_enough_cases_for_five_folds(folder: Path) -> None:
    assert len(_corners(folder, "Tr")) >= 10
    assert len(_corners(folder, "Ts")) >= 3
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == len(_corners(folder, "Tr"))


def test_images_and_labels_fit(folder: Path) -> None:
    for part in ("Tr", "Ts"):
        for file in (folder / f"labels{part}").iterdir():
            name = file.name.removesuffix(".nii.gz")
            labels, image = nibabel.load(file), nibabel.load(folder / f"images{part}" / f"{name}_0000.nii.gz")
            np.testing.assert_array_equal(labels.affine, image.affine)
            assert labels.shape == image.shape == (mni152.EDGE,) * 3
            values = np.asarray(labels.dataobj)
            assert set(np.unique(values)) <= {0, 1, 2}
            if (values == 1).any() and (values == 2).any():
                # On T1 white matter is brighter than grey.
                t1 = np.asarray(image.dataobj)
                assert t1[values == 2].mean() > t1[values == 1].mean()


def test_label_map_takes_the_most_probable_tissue() -> None:
    grey, white = np.array([0.1, 0.6, 0.2, 0.0]), np.array([0.1, 0.3, 0.7, 0.0])
    np.testing.assert_array_equal(mni152.label_map(grey, white), [0, 1, 2, 0])


def test_source_and_licence_lie_beside_the_images(folder: Path) -> None:
    text = (folder / "SOURCE.txt").read_text()
    assert "Louis Collins" in text
    assert "Fonov" in text
