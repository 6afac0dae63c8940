"""Every download becomes a dataset that nnU-Net accepts, with the labels and splits of its papers."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from nnunet_ext.datasets import organs
from nnunet_ext.datasets.amos22 import TO_FLARE
from nnunet_ext.datasets.registry import BENCHMARKS

from .conftest import Convert, Done
from .downloads import DOWNLOADS
from .patient import label_map, mask

Converted = Callable[[str], Done]

# Training and test cases, and the sizes of train and val in each fold.
EXPECTED = {
    "flare22": ("Dataset820_FLARE22", 50, 2, [(40, 10)] * 5),
    "amos22-ct": ("Dataset821_AMOS22CT", 7, 2, [(5, 2)]),
    "amos22-mr": ("Dataset822_AMOS22MR", 7, 2, [(5, 2)]),
    "amos22-mr13": ("Dataset823_AMOS22MR13", 7, 0, [(5, 2), (5, 2), (6, 1), (6, 1), (6, 1)]),
    "synapse": ("Dataset824_Synapse", 18, 12, [(14, 4), (14, 4), (14, 4), (15, 3), (15, 3)]),
    "refuge2": ("Dataset825_REFUGE2", 800, 400, [(400, 400)]),
    "acdc": ("Dataset826_ACDC", 200, 100, [(160, 40)] * 5),
    "word": ("Dataset827_WORD", 8, 2, [(6, 2)]),
    "atlas2023": ("Dataset828_ATLAS2023", 60, 0, [(48, 12)] * 5),
    "images-masks": ("Dataset829_Eyes", 8, 0, [(6, 2), (6, 2), (6, 2), (7, 1), (7, 1)]),
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_download_becomes_a_dataset(name: str, converted: Converted, verify: Callable[[Path], None]) -> None:
    done = converted(name)
    assert done.code == 0, done.output
    folder, n_training, n_test, folds = EXPECTED[name]
    assert [path.name for path in done.raw.iterdir()] == [folder]
    verify(done.dataset)

    description = done.json("dataset.json")
    assert description["numTraining"] == n_training == len(done.names("imagesTr"))
    assert n_test == (len(done.names("imagesTs")) if n_test else 0)
    splits = done.json("splits_final.json")
    assert [(len(fold["train"]), len(fold["val"])) for fold in splits] == folds
    ending = description["file_ending"]
    cases = {file.removesuffix(ending) for file in done.names("labelsTr")}
    for fold in splits:
        assert set(fold["train"]) | set(fold["val"]) <= cases
        assert not set(fold["train"]) & set(fold["val"])
    assert json.loads((done.preprocessed / folder / "splits_final.json").read_text()) == splits
    licence = (done.dataset / "LICENCE_AND_CITATION.txt").read_text()
    assert BENCHMARKS[name].licence in licence
    assert all(citation in licence for citation in BENCHMARKS[name].citations)


def test_part_of_a_download_without_a_list_is_noted(converted: Converted) -> None:
    done = converted("word")
    note = "the source holds 8 training and 2 test cases, the whole download 120 and 30"
    assert f"Note: {note}" in done.output
    assert done.json("conversion.json")["warnings"] == [note]


def labels_of(file: Path) -> dict[tuple[float, ...], int]:
    """The value at each foreground voxel's place in mm."""
    image = nib.load(file)
    values = np.asanyarray(image.dataobj)
    places = nib.affines.apply_affine(image.affine, np.argwhere(values)).round(3)
    return dict(zip(map(tuple, places.tolist()), values[values > 0].tolist(), strict=True))


def test_flare22_takes_the_labelled_and_the_tuning_cases_only(converted: Converted) -> None:
    done = converted("flare22")
    assert done.names("imagesTs") == ["FLARETs_0001_0000.nii.gz", "FLARETs_0002_0000.nii.gz"]
    assert done.names("labelsTs") == ["FLARETs_0001.nii.gz", "FLARETs_0002.nii.gz"]
    assert all(name.startswith("FLARE22_Tr_") for name in done.names("imagesTr"))
    description = done.json("dataset.json")
    assert description["channel_names"] == {"0": "CT"}
    assert description["overwrite_image_reader_writer"] == "NibabelIOWithReorient"
    assert description["labels"]["liver"] == 1
    assert description["labels"]["left kidney"] == 13
    # Two orientations in the source, one place in the patient.
    one, other = (labels_of(done.dataset / "labelsTr" / f"FLARE22_Tr_{n:04d}.nii.gz") for n in (1, 2))
    assert one == other


def test_amos22_takes_one_modality_and_its_labels_by_value(converted: Converted) -> None:
    done = converted("amos22-ct")
    assert done.json("splits_final.json") == [
        {"train": [f"amos_{n:04d}" for n in (1, 4, 5, 6, 7)], "val": ["amos_0008", "amos_0013"]}
    ]
    assert done.names("imagesTs") == ["amos_0002_0000.nii.gz", "amos_0003_0000.nii.gz"]
    assert "2 test cases have no label map" in done.output
    assert list(done.json("dataset.json")["labels"].items())[8:10] == [("aorta", 8), ("inferior vena cava", 9)]
    assert nib.load(done.dataset / "labelsTr" / "amos_0001.nii.gz").get_data_dtype() == np.uint8
    assert (done.dataset / "from_source").is_dir()


def test_amos22_crossval_puts_validation_cases_into_the_folds(convert: Convert, tmp_path: Path) -> None:
    done = convert("amos22-mr", DOWNLOADS["amos22-mr"](tmp_path / "download"), "--split", "crossval")
    splits = done.json("splits_final.json")
    assert len(splits) == 5
    assert sorted(name for fold in splits for name in fold["val"]) == [
        f"amos_{number:04d}" for number in (507, 508, 510, 514, 517, 518, 519)
    ]


def test_amos22_mr13_is_numbered_as_u_mamba_does(converted: Converted, tmp_path: Path) -> None:
    # From the label lists of both data sets.
    assert TO_FLARE == {
        **{0: 0, 1: 3, 2: 2, 3: 13, 4: 9, 5: 10, 6: 1, 7: 11, 8: 5, 9: 6, 10: 4, 11: 7, 12: 8, 13: 12},
        **{14: 0, 15: 0},
    }
    done = converted("amos22-mr13")
    written = labels_of(done.dataset / "labelsTr" / "amos_0507.nii.gz")
    label = tmp_path / "flare.nii.gz"
    nib.save(label_map(organs.FLARE), label)
    assert written == labels_of(label)
    assert not (done.dataset / "imagesTs").exists()


@pytest.mark.parametrize(
    ("split", "test"),
    [
        ("transunet", [1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38]),
        ("unetr", [35, 36, 37, 38, 39, 40]),
        ("crossval", list(range(61, 81))),
    ],
)
def test_synapse_splits(split: str, test: list[int], convert: Convert, tmp_path: Path) -> None:
    done = convert("synapse", DOWNLOADS["synapse"](tmp_path / "download"), "--split", split)
    assert done.names("imagesTs") == [f"synapse_{number:04d}_0000.nii.gz" for number in test]
    assert (done.dataset / "labelsTs").exists() == (split != "crossval")
    assert len(done.names("imagesTr")) + len(test) == (50 if split == "crossval" else 30)


def test_refuge2_disc_contains_the_cup(converted: Converted) -> None:
    done = converted("refuge2")
    text = (done.dataset / "dataset.json").read_text()
    assert text.index("background") < text.index("optic_disc") < text.index("optic_cup")
    description = json.loads(text)
    assert description["labels"] == {"background": 0, "optic_disc": [1, 2], "optic_cup": 2}
    assert description["regions_class_order"] == [1, 2]
    expected = np.zeros((20, 24), int)
    expected[7:14, 6:16] = 1  # the row of grey 200 is background
    expected[8:12, 8:13] = 2  # and that of grey 60 cup
    assert mask()[6, 6] == 200
    # Grey, palette and RGB bitmaps of one mask.
    for name in ("g0003", "g0001", "n0002", "V0001", "T0041"):
        place = "labelsTs" if name.startswith("T") else "labelsTr"
        assert np.array_equal(np.asarray(Image.open(done.dataset / place / f"{name}.png")), expected), name
    original = np.asarray(Image.open(done.source.parent / "photograph.jpg"))
    assert np.array_equal(np.asarray(Image.open(done.dataset / "imagesTr" / "g0001_0000.png")), original)


def test_acdc_keeps_a_patient_on_one_side(converted: Converted) -> None:
    done = converted("acdc")
    for fold in done.json("splits_final.json"):
        patients = [{name[: len("patient000")] for name in fold[side]} for side in ("train", "val")]
        assert not patients[0] & patients[1]
        assert [len(found) for found in patients] == [80, 20]
    assert len(done.names("labelsTs")) == 100
    notices = [path.read_text() for path in (done.dataset / "from_source").iterdir()]
    assert notices == ["Cite Bernard et al.\n"]


def test_atlas2023_names_do_not_begin_with_one_another(converted: Converted) -> None:
    done = converted("atlas2023")
    assert done.names("labelsTr") == [f"atlas_{number:03d}.nii.gz" for number in range(60)]


def test_images_masks_with_parts_and_grey_pictures(
    convert: Convert, verify: Callable[[Path], None], tmp_path: Path
) -> None:
    for part, number in (("train", 3), ("val", 2), ("test", 1)):
        for index in range(number):
            values = (mask() == 0).astype(np.uint8) * 7
            for kind in ("images", "masks"):
                (tmp_path / "mine" / part / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(255 - mask()).save(tmp_path / "mine" / part / "images" / f"{index}.bmp")
            Image.fromarray(values).save(tmp_path / "mine" / part / "masks" / f"{index}.png")
    done = convert("images-masks", tmp_path / "mine", "--labels", "background=0", "spot=7", "--grey", "-d", 7)
    assert done.code == 0, done.output
    assert done.dataset.name == "Dataset007_Pictures"
    assert done.json("splits_final.json") == [
        {"train": ["train_0", "train_1", "train_2"], "val": ["validation_0", "validation_1"]}
    ]
    assert done.names("labelsTs") == ["test_0.png"]
    assert done.json("dataset.json")["channel_names"] == {"0": "grey"}
    verify(done.dataset)
