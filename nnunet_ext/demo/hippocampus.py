"""MSD Task04 (hippocampus): download with a checksum, and conversion to nnU-Net's raw format.

Address and MD5 are those that MONAI's DecathlonDataset uses.
"""

import json
import os
import shutil
import tarfile
from pathlib import Path

from nnunet_ext.demo.errors import DemoError
from nnunet_ext.download import Advance, ChecksumError, download, verify

URL = "https://msd-for-monai.s3-us-west-2.amazonaws.com/Task04_Hippocampus.tar"
MD5 = "9d24dba78a72977dbd1d2e110310f31b"
ARCHIVE = "Task04_Hippocampus.tar"
NAME = "Dataset004_Hippocampus"


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
            _download(archive, advance)
    if not archive.is_file():
        raise DemoError(f"{archive} is not there.")
    try:
        verify(archive, "md5", MD5)
    except ChecksumError as error:
        raise DemoError(f"{archive} is not the archive of MSD Task04 ({error}); delete it and try again.") from error
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


def _download(archive: Path, advance: Advance) -> None:
    try:
        download(URL, archive, "md5", MD5, advance)
    except (OSError, ChecksumError) as error:
        raise DemoError(
            f"Cannot download {URL} ({getattr(error, 'reason', None) or error}): download it by hand on a machine with "
            f"network access and run the demo with --data /path/to/{ARCHIVE}."
        ) from error


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
