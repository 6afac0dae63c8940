"""The cases in a folder of files that are named as nnU-Net and FLARE name them: CASE_0000.nii.gz."""

import re
from pathlib import Path

from nnunet_ext.containers.errors import CaseError

ENDING = ".nii.gz"
_NAME = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})" + re.escape(ENDING), re.DOTALL)

Channels = dict[int, Path]


def find_cases(folder: Path) -> tuple[dict[str, Channels], list[str]]:
    """The files of each case by channel, and the names of what is something else; hidden files do not count."""
    cases: dict[str, Channels] = {}
    others = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        match = _NAME.fullmatch(path.name)
        if match and path.is_file():
            cases.setdefault(match["case"], {})[int(match["channel"])] = path
        else:
            others.append(path.name)
    return cases, others


def in_order(channels: Channels) -> list[Path]:
    """The files from channel 0000 on.

    Raises:
        CaseError: if there is a gap.
    """
    for expected, found in enumerate(sorted(channels)):
        if expected != found:
            raise CaseError(f"channel {expected:04d} is missing")
    return [channels[channel] for channel in sorted(channels)]
