"""MSD Task04: checksum, conversion, and what is said when the network is not there."""

import json
import tarfile
from pathlib import Path

import pytest

from nnunet_ext.demo import hippocampus
from nnunet_ext.demo.errors import DemoError
from nnunet_ext.download import file_checksum

from .raw import write_raw


def _ignore(_done: float, _note: str) -> None:
    pass


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A small archive of the shape of MSD's, with the resource forks that theirs has."""
    task = write_raw(tmp_path / "Task04_Hippocampus", cases=6)
    for image in (task / "imagesTr").iterdir():
        image.rename(image.with_name(image.name.replace("_0000", "")))
    (task / "labelsTr" / "._case_Tr_00.nii.gz").write_bytes(b"fork")
    description = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "licence": "CC-BY-SA 4.0",
        "reference": "Vanderbilt",
    }
    (task / "dataset.json").write_text(json.dumps(description))
    path = tmp_path / "Task04_Hippocampus.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(task, "Task04_Hippocampus")
    return path


def test_archive_is_converted(tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hippocampus, "MD5", file_checksum(archive, "md5"))
    folder = hippocampus.fetch(tmp_path / "downloads", archive, _ignore)
    description = json.loads((folder / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, "Anterior": 1, "Posterior": 2}
    assert description["numTraining"] == 6
    assert len(list((folder / "imagesTr").glob("*_0000.nii.gz"))) == 6
    assert sorted(path.name for path in folder.parent.iterdir()) == [hippocampus.NAME]


def test_download_and_second_run(tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hippocampus, "MD5", file_checksum(archive, "md5"))
    monkeypatch.setattr(hippocampus, "URL", archive.as_uri())
    shown: list[float] = []
    folder = hippocampus.fetch(tmp_path / "downloads", None, lambda done, _: shown.append(done))
    assert shown[-1] == 1
    monkeypatch.setattr(hippocampus, "URL", "http://localhost:9/nothing")
    assert hippocampus.fetch(tmp_path / "downloads", None, _ignore) == folder


def test_wrong_checksum(tmp_path: Path, archive: Path) -> None:
    with pytest.raises(DemoError, match=r"MD5 .*, expected 9d24dba7.*delete it"):
        hippocampus.fetch(tmp_path / "downloads", archive, _ignore)
    assert not (tmp_path / "downloads" / hippocampus.NAME).exists()


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hippocampus, "URL", "http://localhost:9/Task04_Hippocampus.tar")
    with pytest.raises(DemoError, match=r"by hand .* --data /path/to/Task04_Hippocampus\.tar") as error:
        hippocampus.fetch(tmp_path / "downloads", None, _ignore)
    assert "\n" not in str(error.value)
    assert not any((tmp_path / "downloads").iterdir())


def test_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="is not there"):
        hippocampus.fetch(tmp_path / "downloads", tmp_path / "nothing.tar", _ignore)


def test_files_outside_the_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = tmp_path / "Task04_Hippocampus.tar"
    (tmp_path / "file").write_text("x")
    with tarfile.open(evil, "w") as tar:
        tar.add(tmp_path / "file", "../../outside")
    monkeypatch.setattr(hippocampus, "MD5", file_checksum(evil, "md5"))
    with pytest.raises(DemoError, match="cannot be unpacked"):
        hippocampus.fetch(tmp_path / "a" / "b" / "downloads", evil, _ignore)
    assert not list(tmp_path.rglob("outside"))
