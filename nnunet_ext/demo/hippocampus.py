"""MSD Task04 (hippocampus): download with a checksum, and conversion to nnU-Net's raw format.

Address and MD5 are those that MONAI's DecathlonDataset uses.
"""

import hashlib
import json
import os
import shutil
import tarfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from nnunet_ext.demo.errors import DemoError

URL = "https://msd-for-monai.s3-us-west-2.amazonaws.com/Task04_Hippocampus.tar"
MD5 = "9d24dba78a72977dbd1d2e110310f31b"
ARCHIVE = "Task04_Hippocampus.tar"
NAME = "Dataset004_Hippocampus"
SECONDS_WITHOUT_ANSWER = 30
CHUNK = 1 << 20

Advance = Callable[[float, str], None]
"""Called with the fraction done (0 to 1) and a few words."""


def fetch(folder: Path, archive: Path | None, advance: Advance) -> Path:
    """The converted dataset in `folder`, from `archive` or, if that is None, from the network.

    Raises:
        DemoError: if the network cannot be reached, the archive is not there or not the one that the checksum names.
    """
    done = folder / NAME
    if (done / "dataset.json").is_file():
        return done
    folder.mkdir(parents=True, exist_ok=True)
    if archive is None:
        archive = folder / ARCHIVE
        if not archive.is_file():
            download(URL, archive, advance)
    if not archive.is_file():
        raise DemoError(f"{archive} is not there.")
    found = md5(archive)
    if found != MD5:
        raise DemoError(
            f"{archive} is not the archive of MSD Task04 (MD5 {found}, expected {MD5}); delete it and try again."
        )
    unpacked = folder / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise DemoError(f"{archive} cannot be unpacked: {error}.") from error
    part = folder / f"{NAME}.part"
    shutil.rmtree(part, ignore_errors=True)
    convert(unpacked / "Task04_Hippocampus", part)
    os.replace(part, done)
    shutil.rmtree(unpacked)
    return done


def download(url: str, target: Path, advance: Advance) -> None:
    """Write what `url` holds to `target`, whole or not at all; DemoError if the network does not let us."""
    part = target.with_name(target.name + ".part")
    try:
        with urllib.request.urlopen(url, timeout=SECONDS_WITHOUT_ANSWER) as answer, part.open("wb") as file:
            total = int(answer.headers.get("Content-Length") or 0)
            done = 0
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                advance(done / total if total else 0.0, f"{done / 1e6:.0f} MB")
            if total and done != total:
                raise OSError(f"the connection ended after {done} of {total} bytes")
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DemoError(
            f"Cannot download {url} ({getattr(error, 'reason', None) or error}): download it by hand on a machine with "
            f"network access and run the demo with --data /path/to/{ARCHIVE}."
        ) from error
    os.replace(part, target)


def md5(path: Path) -> str:
    """The file's MD5 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def convert(task: Path, target: Path) -> None:
    """Write the MSD task folder `task` (one channel) as an nnU-Net raw dataset; DemoError if it is not one."""
    try:
        source = json.loads((task / "dataset.json").read_text())
        labels = {name: int(value) for value, name in source["labels"].items()}
        channels = source["modality"]
    except (OSError, ValueError, KeyError) as error:
        raise DemoError(f"{task} is not a folder of the Medical Segmentation Decathlon: {error}.") from error
    for part in ("imagesTr", "labelsTr"):
        (target / part).mkdir(parents=True)
    # The archive also holds macOS resource forks, whose names begin with "._".
    names = [path.name[: -len(".nii.gz")] for path in sorted((task / "labelsTr").glob("[!.]*.nii.gz"))]
    for name in names:
        shutil.copyfile(task / "imagesTr" / f"{name}.nii.gz", target / "imagesTr" / f"{name}_0000.nii.gz")
        shutil.copyfile(task / "labelsTr" / f"{name}.nii.gz", target / "labelsTr" / f"{name}.nii.gz")
    description = {
        "channel_names": channels,
        "labels": {name.replace(" ", "_"): value for name, value in labels.items()},
        "numTraining": len(names),
        "file_ending": ".nii.gz",
        "name": "MSD Task04 Hippocampus",
        "reference": f"Medical Segmentation Decathlon, {source.get('reference', '')}".rstrip(", "),
        "licence": source.get("licence", "CC BY-SA 4.0"),
    }
    (target / "dataset.json").write_text(json.dumps(description, indent=2) + "\n")
