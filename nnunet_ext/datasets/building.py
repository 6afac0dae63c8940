"""An unfinished dataset, in a hidden folder of nnUNet_raw where nnU-Net does not look.

The name of the folder begins with a dot, so that nnU-Net, which looks for names that begin with `Dataset820`, finds
neither it nor two datasets of one number. Each finished case has a record in `cases/`, written after its files. Only
when everything is there, dataset.json last, the folder gets its real name.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunet_ext.datasets.benchmark import Case
from nnunet_ext.datasets.record import Record
from nnunet_ext.files import write_text

FOLDERS = ("imagesTr", "labelsTr", "imagesTs", "labelsTs")
SETTINGS = "settings.json"


class Building:
    """The folder `.Dataset820_FLARE22.part`, while it grows; it can be sent to another process."""

    def __init__(self, raw: Path, name: str) -> None:
        """Name the folder; nothing is written yet."""
        self.target = raw / name
        self.folder = raw / f".{name}.part"
        self.unpacked = self.folder / "unpacked"
        self.lock = raw / f".{name}.lock"
        """Held by the conversion at work: two would write into one folder, perhaps with other splits."""

    def begin(self, settings: Mapping[str, object]) -> bool:
        """Make the folder, or go on with the one that is there; returns whether one of other settings was removed."""
        text = json.dumps(settings, indent=2, default=str)
        removed = False
        if self.folder.is_dir() and _read(self.folder / SETTINGS) != text:
            shutil.rmtree(self.folder)
            removed = True
        for folder in (*FOLDERS, "cases"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        write_text(self.folder / SETTINGS, text)
        # What a killed run was writing.
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        return removed

    @property
    def _scratch(self) -> Path:
        return self.folder / "scratch"

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for the files of one case, with the folders images and labels; gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            for name in ("images", "labels"):
                Path(folder, name).mkdir()
            yield Path(folder)

    def add(self, case: Case, scratch: Path, record: Record) -> None:
        """Move the files of a finished case to their places, then write its record."""
        files = []
        for kind in ("images", "labels"):
            place = kind + ("Ts" if case.part == "test" else "Tr")
            for file in sorted((scratch / kind).iterdir()):
                os.replace(file, self.folder / place / file.name)
                files.append(f"{place}/{file.name}")
        write_text(self._record(case.name), json.dumps(asdict(record) | {"files": files, "stamps": stamps(case)}))

    def has(self, case: Case) -> bool:
        """Whether the case is finished, from the same source files."""
        record = self.record(case)
        return record is not None and record["stamps"] == stamps(case)

    def record(self, case: Case) -> dict[str, Any] | None:
        """What `add` wrote, or None."""
        text = _read(self._record(case.name))
        return json.loads(text) if text else None

    def _record(self, name: str) -> Path:
        return self.folder / "cases" / f"{name}.json"

    def keep_only(self, cases: Iterable[Case]) -> None:
        """Delete image and label files of all other cases, which an earlier run may have left."""
        kept = {file for case in cases for file in (self.record(case) or {}).get("files", [])}
        for folder in FOLDERS:
            for file in (self.folder / folder).iterdir():
                if f"{folder}/{file.name}" not in kept:
                    file.unlink()

    def finish(self) -> None:
        """Give the folder its real name, without what only the conversion needed."""
        for folder in ("cases", "scratch", "unpacked"):
            shutil.rmtree(self.folder / folder, ignore_errors=True)
        (self.folder / SETTINGS).unlink()
        for folder in FOLDERS:
            if not any((self.folder / folder).iterdir()):
                (self.folder / folder).rmdir()
        os.rename(self.folder, self.target)

    def abandon(self) -> None:
        """Remove the folder, unless a finished case is in it."""
        if not any((self.folder / "cases").glob("*.json")):
            shutil.rmtree(self.folder, ignore_errors=True)


def stamps(case: Case) -> list[list[str]]:
    """Name and stamp of each of the case's source files."""
    files = (*case.images, *([case.label] if case.label else []))
    return [[file.name, file.stamp] for file in files]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
