"""One NIfTI case: what is repaired, what is refused, and that labels keep their meaning."""

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nnunet_ext.datasets import organs, volumes
from nnunet_ext.datasets.amos22 import AMOS22_CT, AMOS22_MR13
from nnunet_ext.datasets.benchmark import Case
from nnunet_ext.datasets.check import check_image, check_positions
from nnunet_ext.datasets.errors import CaseError
from nnunet_ext.datasets.labels import counts, remap
from nnunet_ext.datasets.record import Record
from nnunet_ext.datasets.source import Source
from nnunet_ext.datasets.synapse import SYNAPSE
from nnunet_ext.datasets.word import WORD

from .patient import image_of, label_map, nifti, save

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
GIVEN = label_map(organs.WORD)

Run = Callable[..., tuple[Record, nib.Nifti1Image, nib.Nifti1Image]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """run(image, label): both, as WORD's case x; returns the record, and image and label map as written."""

    def convert(image: nib.Nifti1Image, label: nib.Nifti1Image, geometry: str = "check", ending: str = ".nii.gz"):
        save(image, tmp_path / "source" / f"image{ending}")
        save(label, tmp_path / "source" / f"label{ending}")
        files = {file.name.split(".")[0]: file for file in Source(tmp_path / "source", tmp_path).files}
        for kind in ("images", "labels"):
            (tmp_path / "out" / kind).mkdir(parents=True)
        record = volumes.convert(
            Case("x", "train", (files["image"],), files["label"]), WORD, geometry, tmp_path / "out"
        )
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images", "labels"]
        written = [tmp_path / "out" / name for name in ("images/x_0000.nii.gz", "labels/x.nii.gz")]
        return record, *map(nib.load, written)

    return convert


def values(image: nib.Nifti1Image) -> np.ndarray:
    return np.asanyarray(image.dataobj)


def test_the_image_is_copied_as_it_is(run: Run, tmp_path: Path) -> None:
    record, image, label = run(image_of(GIVEN), GIVEN)
    assert Path(image.get_filename()).read_bytes() == (tmp_path / "source" / "image.nii.gz").read_bytes()
    assert np.array_equal(values(label), values(GIVEN))
    assert (record.shape, record.spacing, record.orientation) == ([20, 12, 20], [2.0, 2.0, 2.5], "LPS")
    assert record.labels == dict.fromkeys(range(1, 17), 8)
    assert record.notes == []


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32", "float64"])
def test_labels_of_any_type_become_uint8(dtype: str, run: Run) -> None:
    given = nib.Nifti1Image(values(GIVEN).astype(dtype), GIVEN.affine)
    _, _, label = run(image_of(GIVEN), given)
    assert label.get_data_dtype() == np.uint8
    assert np.array_equal(values(label), values(GIVEN))


def test_files_that_are_not_gzipped_and_a_fourth_axis(run: Run) -> None:
    image, label = (nib.Nifti1Image(values(part)[..., None], part.affine) for part in (image_of(GIVEN), GIVEN))
    _, image, label = run(image, label, ending=".nii")
    gzip.decompress(Path(image.get_filename()).read_bytes())
    assert np.array_equal(values(image), values(image_of(GIVEN)))
    assert np.array_equal(values(label), values(GIVEN))


def test_a_label_map_in_another_order_of_axes_is_turned(run: Run) -> None:
    record, image, label = run(image_of(GIVEN), label_map(organs.WORD, "PIR"))
    assert np.array_equal(values(label), values(GIVEN))
    assert np.array_equal(label.affine, image.affine)
    assert "label map turned from PIR to the image's LPS" in record.notes


def test_a_rounded_affine_is_replaced(run: Run) -> None:
    affine = GIVEN.affine.copy()
    affine[:3, 3] += 0.05
    record, image, label = run(image_of(GIVEN), nib.Nifti1Image(values(GIVEN), affine))
    assert np.array_equal(label.affine, image.affine)
    assert record.notes == ["label map's affine replaced by the image's, 0.087 mm beside it"]


def test_readers_that_look_at_either_matrix_see_the_same(run: Run) -> None:
    # SimpleITK takes another matrix of the header than nibabel where both are there.
    given = image_of(GIVEN)
    given.set_qform(GIVEN.affine, 1)
    given.set_sform(GIVEN.affine, 2)
    _, image, label = run(given, GIVEN)
    assert (label.header["qform_code"], label.header["sform_code"]) == (1, 2)
    assert np.allclose(label.get_qform(), image.get_qform())


def flipped(axis: int) -> nib.Nifti1Image:
    """The label map with a wrong header: its array runs the other way along one axis."""
    return nib.Nifti1Image(np.flip(values(GIVEN), axis), GIVEN.affine)


def moved(image: nib.Nifti1Image) -> nib.Nifti1Image:
    affine = image.affine.copy()
    affine[0, 3] += 30
    return nib.Nifti1Image(values(image), affine)


def with_values(image: nib.Nifti1Image, *places: float) -> nib.Nifti1Image:
    changed = values(image).astype(np.float32 if any(place % 1 for place in places) else np.int32)
    changed.reshape(-1)[: len(places)] = places
    return nib.Nifti1Image(changed, image.affine)


def with_nan(image: nib.Nifti1Image) -> nib.Nifti1Image:
    changed = values(image).astype(np.float32)
    changed[0, 0, 0] = np.nan
    return nib.Nifti1Image(changed, image.affine)


IMAGE = image_of(GIVEN)


@pytest.mark.parametrize(
    ("image", "label", "words"),
    [
        (IMAGE, with_values(GIVEN, 17), "holds the value 17, expected 0 to 16"),
        (IMAGE, with_values(GIVEN, -1, 70000), "holds the values -1, 70000, expected"),
        (IMAGE, with_values(GIVEN, 1.5), "holds 1.5, which is no whole number"),
        (IMAGE, with_nan(GIVEN), "the label map holds NaN"),
        (with_nan(IMAGE), GIVEN, "the image holds NaN"),
        (IMAGE, nifti(np.ones((20, 12, 19), np.uint8)), "20 x 12 x 20 voxels, its label map 20 x 12 x 19"),
        (IMAGE, moved(GIVEN), "different geometry: .* up to 30 mm apart"),
        (IMAGE, flipped(0), "the organs lie mirrored, left-right"),
        (IMAGE, flipped(1), "the organs lie mirrored, front-back"),
        (IMAGE, flipped(2), "the organs lie mirrored, top-bottom"),
        (nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), np.eye(4)), GIVEN, "the image has 4 axes"),
    ],
)
def test_what_is_wrong_is_named(image: nib.Nifti1Image, label: nib.Nifti1Image, words: str, run: Run) -> None:
    with pytest.raises(CaseError, match=words):
        run(image, label)


def test_an_image_without_geometry() -> None:
    image = nifti(values(IMAGE))
    image.affine[:3, 0] = 0
    with pytest.raises(CaseError, match="no usable geometry"):
        check_image(image)


def test_geometry_of_the_image_where_the_user_knows_better(run: Run) -> None:
    _, image, label = run(IMAGE, moved(flipped(0)), geometry="image")
    assert np.array_equal(values(label), np.flip(values(GIVEN), 0))
    assert np.array_equal(label.affine, image.affine)


def test_one_odd_organ_is_no_mirrored_patient() -> None:
    given = values(label_map(organs.FLARE, "RAS")).copy()
    liver, spleen = (given == 1), (given == 3)
    given[liver], given[spleen] = 3, 1
    names = {name: value for value, name in enumerate(organs.FLARE, start=1)}
    check_positions(given, label_map(organs.FLARE, "RAS").affine, names)


def real(name: str) -> nib.Nifti1Image:
    if not (DATA / name).is_file():
        pytest.skip(f"needs {DATA / name}, which is not part of the repository")
    return nib.load(DATA / name)


def names_of(benchmark) -> dict[str, int]:
    return dict(benchmark.labels)


@pytest.mark.parametrize(
    ("file", "benchmark"),
    [("amos_0013.nii.gz", AMOS22_CT), ("word_0060.nii.gz", WORD)],
)
def test_real_label_maps_survive(file: str, benchmark, tmp_path: Path) -> None:
    given = real(f"labels_only/{file}")
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    # The image plays no part but for its grid.
    save(nib.Nifti1Image(np.zeros(given.shape, np.uint8), given.affine), tmp_path / "source" / "image.nii.gz")
    (image,) = Source(tmp_path / "source", tmp_path).files
    (label,) = (f for f in Source(DATA / "labels_only", tmp_path).files if f.name == file)
    record = volumes.convert(Case("x", "train", (image,), label), benchmark, "check", tmp_path)
    written = nib.load(tmp_path / "labels" / "x.nii.gz")
    assert np.array_equal(values(written), values(given))
    assert np.allclose(written.affine, given.affine, atol=1e-6)
    assert sorted(record.labels) == list(range(1, benchmark.n_labels))


def test_a_real_label_map_is_renumbered_organ_by_organ() -> None:
    given = values(real("labels_only/amos_0013.nii.gz"))
    found = counts(remap(given, AMOS22_MR13.label_map))
    original = counts(given.astype(np.uint8))
    amos = {name: original[value] for value, name in enumerate(organs.AMOS, start=1)}
    assert {name: found[value] for value, name in enumerate(organs.FLARE, start=1)} == {
        name: amos[name] for name in organs.FLARE
    }


def test_the_real_label_map_with_a_lost_orientation_is_caught() -> None:
    given = real("labels_only/btcv8_label0001.nii.gz")
    eight = ("spleen", "right kidney", "left kidney", "gallbladder", "liver", "stomach", "aorta", "pancreas")
    names = {name: value for value, name in enumerate(eight, start=1)}
    labels = remap(values(given), {value: value for value in range(9)})
    with pytest.raises(CaseError, match="mirrored, front-back"):
        check_positions(labels, given.affine, names)
    check_positions(np.flip(labels, 1), given.affine, names)


@pytest.mark.parametrize(
    ("file", "order"),
    [
        ("ct_3mm_flare13.nii.gz", organs.FLARE),
        ("ct_3mm_amos15.nii.gz", organs.AMOS),
        ("mr_3mm_amos15.nii.gz", organs.AMOS),
    ],
)
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_real_organs_lie_where_the_check_expects_them(file: str, order: tuple[str, ...], axis: int | None) -> None:
    given = real(f"TotalSegmentator_examples/{file}")
    names = {name: value for value, name in enumerate(order, start=1)}
    labels = values(given).astype(np.uint8)
    if axis is None:
        check_positions(labels, given.affine, names)
        return
    with pytest.raises(CaseError, match="mirrored"):
        check_positions(np.flip(labels, axis), given.affine, names)


def test_btcv_names_are_in_the_order_of_the_challenge() -> None:
    # 8 of 13, as TransUNet's readers of the raw files pick them: their values in the raw label map.
    eight = {"aorta": 8, "gallbladder": 4, "left kidney": 3, "right kidney": 2, "liver": 6}
    eight |= {"pancreas": 11, "spleen": 1, "stomach": 7}
    assert eight.items() <= SYNAPSE.labels.items()
