"""Steps that a second run with the same settings skips.

A finished step leaves `<out>/steps/<name>.json`, which holds a key made of everything the step depends on and the
seconds it took. A step whose file is missing or whose key differs removes what it left before and runs from its
beginning: nothing half-written is ever used.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from nnunet_ext.demo.errors import DemoError
from nnunet_ext.files import write_text

FOLDER = "steps"


class Steps:
    """The record of finished steps in the demo's output folder."""

    def __init__(self, out: Path) -> None:
        """Take `out`; DemoError if it is a folder with contents that no demo wrote."""
        if out.exists() and not out.is_dir():
            raise DemoError(f"{out} is a file; give --out a folder.")
        if out.is_dir() and any(out.iterdir()) and not (out / FOLDER).is_dir():
            raise DemoError(f"{out} holds other files; give --out a new or empty folder, or one of an earlier demo.")
        self._folder = out / FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)

    def run(self, name: str, key: str, remove: list[Path], action: Callable[[], None]) -> float:
        """Delete `remove` and run `action`, unless that is done with this key; returns the seconds it took or takes."""
        record = self._folder / f"{name}.json"
        if self.is_done(name, key):
            return float(json.loads(record.read_text())["seconds"])
        record.unlink(missing_ok=True)
        for path in remove:
            shutil.rmtree(path, ignore_errors=True)
        begun = time.monotonic()
        action()
        seconds = time.monotonic() - begun
        write_text(record, json.dumps({"key": key, "seconds": seconds}))
        return seconds

    def is_done(self, name: str, key: str) -> bool:
        """Whether the step ended with this key."""
        try:
            record = json.loads((self._folder / f"{name}.json").read_text())
        except (OSError, ValueError):
            return False
        return bool(record.get("key") == key)


def key_of(settings: Mapping[str, object]) -> str:
    """A short text that changes when any of `settings` (plain values) changes."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]
