"""A user's dataset folder: taken as it is, never changed, and refused in one sentence."""

import json
from pathlib import Path

import pytest

from nnunet_ext.demo import folder
from nnunet_ext.demo.errors import DemoError

from .raw import contents, write_raw


def test_test_cases_of_the_dataset_are_used(tmp_path: Path) -> None:
    source = write_raw(tmp_path / "Dataset123_Balls", cases=5, test=2)
    before = contents(source)
    dataset = folder.build(source, tmp_path / "raw")
    assert dataset.name == "Dataset123_Balls"
    assert dataset.identifier == "123"
    assert len(list((dataset.folder / "imagesTr").iterdir())) == 5
    assert len(list(dataset.test_labels.iterdir())) == 2
    assert contents(source) == before


def test_every_fifth_case_is_held_out(tmp_path: Path) -> None:
    dataset = folder.build(write_raw(tmp_path / "my balls", cases=10), tmp_path / "raw")
    assert dataset.name == "Dataset002_myballs"
    training = {path.name for path in (dataset.folder / "labelsTr").iterdir()}
    test = {path.name for path in dataset.test_labels.iterdir()}
    assert len(training) == 8
    assert len(test) == 2
    assert not training & test
    assert "held out" in dataset.unseen
    assert json.loads((dataset.folder / "dataset.json").read_text())["numTraining"] == 8


def test_unlabelled_test_images_are_not_used(tmp_path: Path) -> None:
    source = write_raw(tmp_path / "Dataset123_Balls", cases=7, test=2)
    for path in (source / "labelsTs").iterdir():
        path.unlink()
    dataset = folder.build(source, tmp_path / "raw")
    assert len(list(dataset.test_labels.iterdir())) == 1


def test_list_of_files_in_dataset_json(tmp_path: Path) -> None:
    source = write_raw(tmp_path / "elsewhere", cases=6)
    cases = {
        f"case_Tr_{index:02d}": {
            "images": [f"imagesTr/case_Tr_{index:02d}_0000.nii.gz"],
            "label": f"labelsTr/case_Tr_{index:02d}.nii.gz",
        }
        for index in range(6)
    }
    write_raw(source, cases=6, dataset=cases)
    dataset = folder.build(source, tmp_path / "raw")
    assert len(list((dataset.folder / "imagesTr").iterdir())) == 5
    assert "dataset" not in json.loads((dataset.folder / "dataset.json").read_text())


def test_spacing_files_of_tiff_come_along(tmp_path: Path) -> None:
    source = tmp_path / "Dataset123_Tiff"
    for part in ("imagesTr", "labelsTr"):
        (source / part).mkdir(parents=True)
        for index in range(6):
            (source / part / f"c{index}.json").write_text('{"spacing": [1, 1, 1]}')
            (source / part / f"c{index}{'_0000' if part == 'imagesTr' else ''}.tif").touch()
    write_raw(source, cases=0, file_ending=".tif")
    dataset = folder.build(source, tmp_path / "raw")
    assert (dataset.folder / "imagesTs" / "c4.json").is_file()
    assert (dataset.folder / "labelsTr" / "c0.json").is_file()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda source: source.rename(source.with_name("gone")), "is not a folder"),
        (lambda source: (source / "dataset.json").unlink(), "no dataset.json"),
        (lambda source: (source / "dataset.json").write_text("{"), "not readable as JSON"),
        (lambda source: (source / "dataset.json").write_text('{"labels": {}}'), "lacks channel_names, file_ending"),
        (lambda source: (source / "labelsTr").rename(source / "gone"), "no folder labelsTr"),
        (lambda source: next((source / "labelsTr").iterdir()).unlink(), "no label map"),
    ],
)
def test_bad_folder_is_refused_in_one_sentence(tmp_path: Path, spoil, words: str) -> None:
    source = write_raw(tmp_path / "source", cases=6)
    spoil(source)
    with pytest.raises(DemoError, match=words) as error:
        folder.build(source, tmp_path / "raw")
    assert "\n" not in str(error.value)


def test_too_few_cases(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="leaves 4 labelled training cases"):
        folder.build(write_raw(tmp_path / "source", cases=5), tmp_path / "raw")


def test_fingerprint_changes_with_a_file(tmp_path: Path) -> None:
    source = write_raw(tmp_path / "source", cases=5)
    before = folder.fingerprint(source)
    assert folder.fingerprint(source) == before
    (source / "dataset.json").write_text("{}")
    assert folder.fingerprint(source) != before
