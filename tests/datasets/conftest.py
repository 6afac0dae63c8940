"""What the tests of `nnunet-ext convert` share."""

import io
import json
import multiprocessing.dummy
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from nnunet_ext.cli import main

from .downloads import DOWNLOADS


class Done(NamedTuple):
    """How `nnunet-ext convert` ended."""

    code: int
    output: str
    source: Path
    raw: Path
    preprocessed: Path

    @property
    def dataset(self) -> Path:
        """The one dataset that there is."""
        (folder,) = (path for path in self.raw.iterdir() if not path.name.startswith("."))
        return folder

    def json(self, name: str) -> Any:
        return json.loads((self.dataset / name).read_text())

    def names(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.dataset / folder).iterdir())


Convert = Callable[..., Done]


def run(folders: Path, name: str, source: Path, *options: object) -> Done:
    """The command in this process, on nnU-Net's folders in `folders`, with one process unless -np says otherwise."""
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(output):
        for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            (folders / variable).mkdir(exist_ok=True)
            patch.setenv(variable, str(folders / variable))
        processes = [] if "-np" in options else ["-np", "1"]
        code = main(["convert", name, str(source), *map(str, options), *processes])
    return Done(code, output.getvalue(), source, folders / "nnUNet_raw", folders / "nnUNet_preprocessed")


@pytest.fixture
def convert(tmp_path: Path) -> Convert:
    """convert("flare22", source, "--skip-failed", ...), into folders that the calls of one test share."""
    return lambda *arguments: run(tmp_path, *arguments)


OPTIONS = {"images-masks": ["--labels", "background=255", "rim=128", "cup=0", "--dataset-name", "Eyes"]}


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Done]:
    """converted("flare22"): the fake download, converted with the default options, once for all tests."""
    found: dict[str, Done] = {}

    def of(name: str) -> Done:
        if name not in found:
            folder = tmp_path_factory.mktemp(name)
            source = DOWNLOADS[name](folder / "download")
            before = fingerprint(source)
            found[name] = run(folder, name, source, *OPTIONS.get(name, []))
            assert fingerprint(source) == before, "the source was changed"
        return found[name]

    return of


def fingerprint(source: Path) -> list[tuple[Path, int, int]]:
    """Name, size and modification time of everything in a source."""
    files = [source, *sorted(source.rglob("*"))]
    return [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in files]


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """nnU-Net's own check of a raw dataset, in threads instead of new processes."""
    from nnunetv2.experiment_planning import verify_dataset_integrity
    from nnunetv2.utilities import utils

    threads = SimpleNamespace(get_context=lambda _: multiprocessing.dummy)
    monkeypatch.setattr(verify_dataset_integrity, "multiprocessing", threads)
    monkeypatch.setattr(utils, "Pool", multiprocessing.dummy.Pool)
    return lambda folder: verify_dataset_integrity.verify_dataset_integrity(str(folder), 1)
