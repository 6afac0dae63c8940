"""Cases that fail, runs that are interrupted, disks that are full: what is said, and what is left."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import pytest

from nnunet_ext.datasets import organs
from nnunet_ext.datasets.building import Building
from nnunet_ext.locks import Lock

from .conftest import Convert, Done
from .downloads import DOWNLOADS, Pair, synapse
from .patient import label_map, save

N_CASES = 8


def word(folder: Path) -> Path:
    """WORD with six training and two validation cases."""
    root = folder / "WORD-V0.1.0"
    pair = Pair(folder / "pair", organs.WORD)
    for number in range(1, N_CASES + 1):
        part = "Tr" if number <= 6 else "Val"
        pair.write(
            root / f"images{part}" / f"word_{number:04d}.nii.gz", root / f"labels{part}" / f"word_{number:04d}.nii.gz"
        )
    return root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return word(tmp_path / "download")


def spoil_labels(source: Path) -> str:
    label = label_map(organs.WORD)
    label.dataobj[0, 0, 0] = 99
    save(label, source / "labelsTr" / "word_0003.nii.gz")
    return "word_0003: the label map holds the value 99, expected 0 to 16"


def remove_label(source: Path) -> str:
    (source / "labelsTr" / "word_0003.nii.gz").unlink()
    return "word_0003: the source holds no label map"


def remove_image(source: Path) -> str:
    (source / "imagesTr" / "word_0003.nii.gz").unlink()
    return "word_0003: the source holds no image"


def cut_image(source: Path) -> str:
    file = source / "imagesTr" / "word_0003.nii.gz"
    file.write_bytes(file.read_bytes()[:3000])
    return "word_0003: imagesTr/word_0003.nii.gz is not readable (EOFError"


def damage_label(source: Path) -> str:
    (source / "labelsTr" / "word_0003.nii.gz").write_bytes(b"an error page of the server")
    return "word_0003: labelsTr/word_0003.nii.gz is not readable (ImageFileError"


def empty_label(source: Path) -> str:
    label = label_map(organs.WORD)
    label.dataobj[:] = 0
    save(label, source / "labelsTr" / "word_0003.nii.gz")
    return "word_0003: the label map holds nothing but background"


SPOILERS = [spoil_labels, remove_label, remove_image, cut_image, damage_label, empty_label]


def finished(done: Done) -> set[str]:
    """The cases that an unfinished dataset holds."""
    return {path.stem for path in done.raw.glob(".Dataset827_WORD.part/cases/*.json")}


@pytest.mark.parametrize(("spoil", "processes"), [*((spoil, 1) for spoil in SPOILERS), (spoil_labels, 2)])
def test_a_failed_case_is_named_and_the_rest_goes_on(
    spoil: Callable[[Path], str], processes: int, source: Path, convert: Convert
) -> None:
    sentence = spoil(source)
    done = convert("word", source, "-np", processes)
    assert done.code == 1
    assert f"Failed: {sentence}" in done.output
    assert "So there is no dataset" in done.output
    assert list(done.raw.glob("Dataset*")) == []
    assert finished(done) == {f"word_{n:04d}" for n in range(1, N_CASES + 1) if n != 3}
    assert not any((done.raw / ".Dataset827_WORD.part" / "scratch").iterdir())


def test_without_the_failed_cases(source: Path, convert: Convert, verify: Callable[[Path], None]) -> None:
    spoil_labels(source)
    done = convert("word", source, "--skip-failed")
    assert done.code == 0, done.output
    assert "7 training and 0 test cases, 1 fold(s), 1 cases skipped" in done.output
    assert list(done.json("conversion.json")["skipped"]) == ["word_0003"]
    assert "word_0003" not in json.dumps(done.json("splits_final.json"))
    assert done.json("dataset.json")["numTraining"] == 7
    verify(done.dataset)


def test_validation_cases_that_all_fail_make_no_other_split(source: Path, convert: Convert) -> None:
    shutil.rmtree(source / "labelsVal")
    done = convert("word", source, "--skip-failed")
    assert done.code == 1
    assert "No validation case could be converted" in done.output
    assert list(done.raw.glob("Dataset*")) == []


def test_a_damaged_notice_is_a_note(source: Path, convert: Convert, tmp_path: Path) -> None:
    (source / "README.md").write_bytes(b"how to cite " * 100)
    (source / "LICENSE.txt").write_bytes(b"terms")
    (source / "readme.pdf").write_bytes(b"a poster" * 1_000_000)  # too large to be copied
    archive = tmp_path / "WORD-V0.1.0.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            made.write(file, Path(source.name, file.relative_to(source)))
    archive.write_bytes(archive.read_bytes().replace(b"how to cite", b"how to bite", 1))
    done = convert("word", archive)
    assert done.code == 0, done.output
    assert "README.md could not be read (BadZipFile: Bad CRC-32" in " ".join(done.output.split())
    assert [name.rpartition("__")[2] for name in done.names("from_source")] == ["LICENSE.txt"]
    assert any("Bad CRC-32" in warning for warning in done.json("conversion.json")["warnings"])


def test_a_notice_too_large_is_not_read(source: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "readme.pdf").write_bytes(b"a poster" * 1_000_000)
    monkeypatch.setattr("nnunet_ext.datasets.source.File.read", lambda file: pytest.fail(f"{file.name} was read"))
    done = convert("word", source)
    assert done.code == 0, done.output


def test_stop_on_error(source: Path, convert: Convert) -> None:
    spoil_labels(source)
    done = convert("word", source, "--stop-on-error")
    assert done.code == 1
    assert "Failed: word_0003" in done.output
    assert finished(done) == {"word_0001", "word_0002"}


def test_a_repaired_source_goes_on_where_it_was(source: Path, convert: Convert) -> None:
    spoil_labels(source)
    first = convert("word", source)
    kept = first.raw / ".Dataset827_WORD.part" / "labelsTr" / "word_0001.nii.gz"
    written = kept.stat().st_mtime_ns
    shutil.copy(source / "labelsTr" / "word_0001.nii.gz", source / "labelsTr" / "word_0003.nii.gz")
    done = convert("word", source)
    assert done.code == 0, done.output
    assert f"7 of {N_CASES} cases were converted by an earlier run" in done.output
    assert (done.dataset / "labelsTr" / kept.name).stat().st_mtime_ns == written
    assert not [path for path in done.dataset.rglob("*") if path.name in ("cases", "scratch", "settings.json")]


def test_a_changed_source_file_is_converted_again(source: Path, convert: Convert) -> None:
    spoil_labels(source)
    convert("word", source)
    changed = label_map(organs.WORD)
    changed.dataobj[0, 0, 0] = 5
    save(changed, source / "labelsTr" / "word_0001.nii.gz")
    done = convert("word", source, "--skip-failed")
    assert "6 of" in done.output
    assert nib.load(done.dataset / "labelsTr" / "word_0001.nii.gz").dataobj[0, 0, 0] == 5


def test_a_case_that_was_finished_and_fails_now_leaves_nothing(source: Path, convert: Convert) -> None:
    remove_label(source)
    convert("word", source)
    changed = label_map(organs.WORD)
    changed.dataobj[0, 0, 0] = 99
    save(changed, source / "labelsTr" / "word_0001.nii.gz")
    done = convert("word", source, "--skip-failed")
    assert done.code == 0, done.output
    assert done.names("labelsTr") == [f"word_{number:04d}.nii.gz" for number in (2, 4, 5, 6, 7, 8)]
    assert len(done.names("imagesTr")) == 6


def test_what_was_left_with_other_settings_is_not_used(source: Path, convert: Convert) -> None:
    spoil_labels(source)
    convert("word", source)
    shutil.copy(source / "labelsTr" / "word_0001.nii.gz", source / "labelsTr" / "word_0003.nii.gz")
    done = convert("word", source, "--split", "crossval")
    assert "starting anew" in done.output
    assert "by an earlier run" not in done.output
    assert len(done.json("splits_final.json")) == 5


class Running(NamedTuple):
    """A conversion of Synapse in two processes, which has finished its first case."""

    process: "subprocess.Popen[str]"
    source: Path
    raw: Path

    @property
    def n_done(self) -> int:
        return len(list((self.raw / ".Dataset824_Synapse.part" / "cases").glob("*.json")))


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
    source = synapse(tmp_path / "download", scale=8)  # large enough that a signal finds cases left
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    command = [Path(sys.executable).with_name("nnunet-ext"), "convert", "synapse", source, "-np", "2"]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = Running(process, source, tmp_path / "nnUNet_raw")
    while process.poll() is None and not found.n_done:
        time.sleep(0.005)
    return found


def goes_on(running: Running, convert: Convert) -> None:
    """What was left looks like nothing to nnU-Net, and the next run makes a whole dataset of it."""
    from nnunetv2.utilities.dataset_name_id_conversion import find_candidate_datasets

    assert len(find_candidate_datasets(824)) == 0
    n_done = running.n_done
    assert 0 < n_done < 30
    done = convert("synapse", running.source)
    assert done.code == 0, done.output
    assert f"{n_done} of 30 cases were converted by an earlier run" in done.output
    for kind in ("images", "labels"):
        files = [path for part in ("Tr", "Ts") for path in (done.dataset / f"{kind}{part}").iterdir()]
        assert len(files) == 30
        assert len({nib.load(path).get_fdata().tobytes() for path in files}) == 1  # all sources are the same


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_run_looks_like_nothing_and_goes_on(
    how: signal.Signals, running: Running, convert: Convert
) -> None:
    workers = children(running.process.pid)
    running.process.send_signal(how)
    output, _ = running.process.communicate(timeout=60)
    assert running.process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130)
    assert ("Interrupted" in output) == (how != signal.SIGKILL)
    gone_by(workers, time.monotonic() + 30)
    goes_on(running, convert)


def test_a_killed_process_ends_the_run_with_one_sentence(running: Running, convert: Convert) -> None:
    workers = [pid for pid in children(running.process.pid) if b"spawn_main" in command_line(pid)]
    if not workers:
        pytest.skip("needs /proc to find the processes")
    os.kill(workers[0], signal.SIGKILL)
    output, _ = running.process.communicate(timeout=60)
    assert running.process.returncode == 1
    (sentence,) = (line for line in output.splitlines() if "process" in line)
    assert "A process ended without a word, most likely for lack of memory" in sentence
    gone_by(workers, time.monotonic() + 30)
    goes_on(running, convert)


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def children(pid: int) -> list[int]:
    if not Path("/proc/self/task").is_dir():
        return []
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone_by(pids: list[int], deadline: float) -> None:
    """Wait until no process of `pids` runs."""

    def running(pid: int) -> bool:
        try:
            return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False

    while left := [pid for pid in pids if running(pid)]:
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.05)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """nnUNet_raw on a file system of 200 kB."""
    raw = tmp_path / "nnUNet_raw"
    raw.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(raw)], capture_output=True
    )
    if not mounted or mounted.returncode != 0:
        pytest.skip("may not mount a file system here")
    yield raw
    subprocess.run(["umount", str(raw)], check=True)


def test_a_full_disk(small_disk: Path, source: Path, convert: Convert) -> None:
    size = sum(path.stat().st_size for path in (source / "imagesTr").iterdir())
    (small_disk / "others").write_bytes(b"x" * (200_000 - 40_960 - size // 2))
    done = convert("word", source)
    assert done.code == 1
    assert f"{os.strerror(errno.ENOSPC)}: {small_disk}" in done.output
    assert list(small_disk.glob("Dataset*")) == []
    (small_disk / "others").unlink()
    again = convert("word", source)
    assert again.code == 0, again.output


def test_a_full_disk_stops_at_once(source: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []

    def copy(source, target, size: int) -> None:
        copies.append(target.name)
        if len(copies) == 6:  # two files to a case: the label map of the third
            target.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        target.write(source.read())

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", copy)
        done = convert("word", source, "--skip-failed")
    assert done.code == 1
    assert "No space left on device" in done.output
    assert str(done.raw) in done.output
    assert "make room" in done.output
    assert len(copies) == 6
    part = done.raw / ".Dataset827_WORD.part"
    assert finished(done) == {"word_0001", "word_0002"}
    assert [path.name for path in part.rglob("*.nii.gz") if "0003" in path.name or "download" in path.name] == []
    assert convert("word", source).code == 0


def test_wrong_archive_leaves_nothing(convert: Convert, tmp_path: Path) -> None:
    done = convert("flare22", DOWNLOADS["atlas2023"](tmp_path / "download"))
    assert done.code == 1
    assert "is not flare22 as it is downloaded: no file like images/FLARE22_Tr_0001_0000.nii.gz is in it" in done.output
    assert list(done.raw.iterdir()) == []


def test_half_a_download_is_listed_case_by_case(convert: Convert, tmp_path: Path) -> None:
    source = DOWNLOADS["flare22"](tmp_path / "download")
    for file in (source / "Training" / "FLARE22_LabeledCase50").rglob("FLARE22_Tr_00[1-4]*"):
        file.unlink()
    done = convert("flare22", source)
    assert done.code == 1
    assert "Failed: FLARE22_Tr_0010: the source holds neither image nor label map" in done.output
    assert "Failed: 20 more" in done.output


def test_amos_of_another_release(convert: Convert, tmp_path: Path) -> None:
    (tmp_path / "amos" / "imagesTr").mkdir(parents=True)
    (tmp_path / "amos" / "dataset.json").write_text(
        json.dumps({"labels": {"0": "background", "1": "liver"}, "training": [], "validation": []})
    )
    assert "lists the labels [0, 1], AMOS22 has 0 to 15" in convert("amos22-ct", tmp_path / "amos").output
    (tmp_path / "amos" / "dataset.json").write_text('{"labels": {"0": "background"}}')
    assert "is not AMOS22's: KeyError: 'training'" in convert("amos22-ct", tmp_path / "amos").output
    (tmp_path / "amos" / "dataset.json").unlink()
    assert "holds no dataset.json" in convert("amos22-ct", tmp_path / "amos").output


def test_two_conversions_at_a_time(source: Path, convert: Convert, tmp_path: Path) -> None:
    raw = tmp_path / "nnUNet_raw"
    with Lock(Building(raw, "Dataset827_WORD").lock):
        done = convert("word", source, "--split", "crossval")
    assert done.code == 1
    assert "Dataset827_WORD is being converted already" in done.output
    assert list(raw.iterdir()) == []
    assert convert("word", source).code == 0


def test_a_dataset_that_is_there_is_left_alone(source: Path, convert: Convert) -> None:
    done = convert("word", source)
    before = sorted(done.raw.rglob("*"))
    again = convert("word", source)
    assert again.code == 1
    assert "Dataset827_WORD is there already" in again.output
    assert sorted(done.raw.rglob("*")) == before


@pytest.mark.parametrize("where", ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"])
def test_a_number_that_belongs_to_another_dataset(where: str, source: Path, convert: Convert, tmp_path: Path) -> None:
    (tmp_path / where / "Dataset827_Other").mkdir(parents=True)
    assert "The number 827 belongs to Dataset827_Other" in convert("word", source).output
    assert convert("word", source, "-d", 12).code == 0


def test_another_split_is_not_overwritten(source: Path, convert: Convert, tmp_path: Path) -> None:
    other = tmp_path / "nnUNet_preprocessed" / "Dataset827_WORD" / "splits_final.json"
    other.parent.mkdir(parents=True)
    other.write_text("[]")
    done = convert("word", source)
    assert done.code == 1
    assert f"{other} holds another split and was left alone" in done.output
    assert other.read_text() == "[]"
    assert len(done.json("splits_final.json")) == 1


def test_the_same_split_is_no_trouble(source: Path, convert: Convert) -> None:
    done = convert("word", source)
    shutil.rmtree(done.dataset)
    assert convert("word", source).code == 0
