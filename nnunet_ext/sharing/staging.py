"""Nothing half-written: files are made in a folder beside their target and then renamed."""

import contextlib
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

STORED = (".pth", ".png")
"""Endings of files that do not get smaller by compression."""


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, which does not exist; rename out of it what is ready. It vanishes in any case.

    Raises:
        FileExistsError: if there is something at `target`.
        OSError: if it cannot be written; the folders that were made for it vanish too.
    """
    if os.path.lexists(target):
        raise FileExistsError(f"{target} exists already: give another name, or delete it first")
    absent = [folder for folder in target.absolute().parents if not folder.exists()]
    folder = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(f"{target} could not be written: {error.strerror or error}") from error  # of a full disk
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(target):
            for parent in absent:
                with contextlib.suppress(OSError):
                    parent.rmdir()


def write_zip(tree: Path, file: Path) -> None:
    """Zip the files under `tree`; the same files give the same bytes, whenever and wherever they are zipped."""
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(path for path in tree.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(tree).as_posix())  # of 1980, without an owner
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_STORED if path.suffix in STORED else zipfile.ZIP_DEFLATED
            entry.file_size = path.stat().st_size  # so that zipfile knows whether it needs ZIP64
            with path.open("rb") as source, archive.open(entry, "w") as packed:
                shutil.copyfileobj(source, packed, 1 << 20)
