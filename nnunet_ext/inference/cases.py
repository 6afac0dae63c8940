"""The cases in a folder of images, as nnU-Net names them, and what is wrong with some."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Cases:
    """The cases of a folder, by name."""

    good: dict[str, list[Path]] = field(default_factory=dict)
    """The files, in the order of their channels."""
    bad: dict[str, str] = field(default_factory=dict)
    """Why they cannot be predicted."""


def find_cases(folder: Path, dataset: Mapping[str, Any]) -> Cases:
    """Sort the files of a folder into cases.

    Args:
        folder: with files NAME_0000.nii.gz, NAME_0001.nii.gz and so on, one for each channel, or one for all.
        dataset: the model's dataset.json, which names channels and the ending.

    Raises:
        ValueError: there is no case at all.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give the folder of the images")
    ending: str = dataset["file_ending"]
    names: Mapping[str, str] = dataset.get("channel_names") or dataset["modality"]
    found: dict[str, dict[int, Path]] = {}
    cases = Cases()
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    for file in files:
        if channel := re.fullmatch(rf"(.+)_(\d{{4}}){re.escape(ending)}", file.name, re.DOTALL):
            found.setdefault(channel[1], {})[int(channel[2])] = file
        elif file.name.endswith(ending):
            cases.bad[file.name] = f"no channel in the name, expected {file.name.removesuffix(ending)}_0000{ending}"
        elif re.fullmatch(r".+_\d{4}\.[^_]+", file.name, re.DOTALL):
            cases.bad[file.name] = f"wrong ending, the model was trained on {ending}"
    for name, channels in found.items():
        if wrong := _wrong(name, channels, names, ending):
            cases.bad[name] = wrong
        else:
            cases.good[name] = [file for _, file in sorted(channels.items())]
    if not cases.good and not cases.bad:
        what = f"no image (the first file: {files[0].name})" if files else "nothing"
        raise ValueError(f"{folder} holds {what}: expected NAME_0000{ending}")
    return cases


def _wrong(name: str, channels: Mapping[int, Path], names: Mapping[str, str], ending: str) -> str | None:
    needed = 1 if len(channels) == 1 else len(names)  # one file may hold all channels, as a colour picture does
    for number in range(needed):
        if number not in channels:
            return f"{name}_{number:04d}{ending} is missing"
    if more := sorted(channels.keys() - set(range(len(names)))):
        return f"{channels[more[0]].name} is one too many, the model takes {len(names)} channels"
    return None
