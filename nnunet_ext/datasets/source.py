"""The files of a download: a folder, an archive, or a folder that holds archives. They are only read."""

import gzip
import os
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO

from nnunet_ext.datasets.errors import CaseError, ConvertError
from nnunet_ext.one_line import in_one_line

AES = 99
"""Stands in a zip archive where the method of compression should."""
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")
OTHER_ARCHIVES = (".7z", ".rar", ".gz")
# macOS and Windows leave these in archives and folders; they look like images.
IGNORED = re.compile(r"\..*|__MACOSX|Thumbs\.db")


@dataclass(frozen=True)
class File:
    """One file of a source; it can be sent to another process."""

    name: str
    """Path from the source down, with forward slashes; a zip archive counts as a folder named without its ending."""
    path: Path
    """The file, or the zip archive that holds it."""
    size: int
    """Bytes."""
    stamp: str
    """Changes when the contents do: size, and modification time or CRC."""
    member: str | None = None
    """Name in the archive."""
    password: bytes | None = field(default=None, repr=False)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The contents, to read."""
        if self.member is None:
            with self.path.open("rb") as file:
                yield file
        else:
            with _open_zip(self.path).open(self.member, pwd=self.password) as file:
                yield file

    def read(self) -> bytes:
        """The contents."""
        with self.open() as file:
            return file.read()

    def copy_to(self, target: Path) -> None:
        """Write the contents to the new file `target`."""
        with self.open() as file, target.open("xb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)


@contextmanager
def named(file: File) -> Iterator[None]:
    """Errors that a damaged file raises, whatever they are, become a CaseError with its name; those of disks stay."""
    try:
        yield
    except CaseError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise CaseError(f"{file.name} is not readable ({in_one_line(error)})") from error


class Source:
    """All files of a download."""

    def __init__(self, path: Path, unpacked: Path, password: bytes | None = None) -> None:
        """List the files of the folder or archive `path`.

        Args:
            path: a folder, which may hold zip archives, or a zip or tar archive.
            unpacked: where a tar archive is unpacked to; a zip archive is read where it lies.
            password: of zip archives.

        Raises:
            ConvertError: if it is none of these, is damaged, or has members that would lie outside of it.
        """
        self.path = path
        if path.is_dir():
            self.files = list(_files_below(path, password))
        elif not path.exists():
            raise ConvertError(f"{path} is not there.")
        elif path.suffix.lower() == ".zip":
            self.files = _files_in_zip(path, path.stem, password)
        elif path.name.lower().endswith(TAR_ENDINGS):
            self.files = list(_files_below(_unpack(path, unpacked), password))
        else:
            hint = "; unpack it and give the folder" if path.name.lower().endswith(OTHER_ARCHIVES) else ""
            raise ConvertError(f"{path} is neither a folder nor a .zip, .tar, .tar.gz or .tgz archive{hint}.")

    def find(self, pattern: str) -> dict[str, File]:
        """The files whose path ends with `pattern`, by the group `id` in it.

        Args:
            pattern: regular expression for the last parts of a path, in any case of letters, with a group `id`.

        Raises:
            ConvertError: if two files have one id; of a file and its like in an archive, the file is taken.
        """
        expression = re.compile(rf"(?:.*/)?{pattern}", re.IGNORECASE)
        found: dict[str, File] = {}
        for file in self.files:
            match = expression.fullmatch(file.name)
            if match is None:
                continue
            other = found.setdefault(match["id"], file)
            if other is file:
                continue
            if (other.member is None) == (file.member is None):
                raise ConvertError(
                    f"{self.path} holds {match['id']} twice, as {other.name} and as {file.name}: give a folder with "
                    f"one copy of the download."
                )
            found[match["id"]] = file if file.member is None else other
        return found


def _files_below(root: Path, password: bytes | None) -> Iterator[File]:
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not IGNORED.fullmatch(name))
        for name in sorted(names):
            path = Path(folder, name)
            if IGNORED.fullmatch(name) or not path.is_file():
                continue
            relative = path.relative_to(root)
            if path.suffix.lower() == ".zip":
                yield from _files_in_zip(path, relative.with_suffix("").as_posix(), password)
            else:
                status = path.stat()
                yield File(relative.as_posix(), path, status.st_size, f"{status.st_size} {status.st_mtime_ns}")


def _files_in_zip(path: Path, prefix: str, password: bytes | None) -> list[File]:
    try:
        members = _open_zip(path).infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise ConvertError(f"{path} cannot be read as a zip archive ({error}): was it downloaded whole?") from error
    files = []
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/")).parts
        if member.filename.startswith(("/", "\\")) or ".." in parts or (parts and ":" in parts[0]):
            raise ConvertError(f"{path} is refused: its member {member.filename!r} would lie outside of the archive.")
        if member.compress_type == AES:
            raise ConvertError(
                f"{path} is encrypted with AES, which Python cannot read: unpack it and give the folder."
            )
        if not member.is_dir() and not any(IGNORED.fullmatch(part) for part in parts):
            stamp = f"{member.file_size} {member.CRC:08x}"
            encrypted = bool(member.flag_bits & 1)
            files.append(
                File(
                    "/".join((prefix, *parts)),
                    path,
                    member.file_size,
                    stamp,
                    member.filename,
                    password if encrypted else None,
                )
            )
    return files


@lru_cache(maxsize=8)
def _open_zip(path: Path) -> zipfile.ZipFile:
    # Stays open: an archive of a thousand members is opened once in each process.
    return zipfile.ZipFile(path)


def _unpack(path: Path, folder: Path) -> Path:
    status = path.stat()
    done = folder / f"{path.name}-{status.st_size}-{status.st_mtime_ns}"
    if done.is_dir():
        return done
    part = folder / "unpacking"
    shutil.rmtree(part, ignore_errors=True)
    try:
        with tarfile.open(path) as tar:
            tar.extractall(part, filter="data")
    except tarfile.FilterError as error:
        raise ConvertError(f"{path} is refused: {error}.") from error
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ConvertError(f"{path} cannot be unpacked ({error}): was it downloaded whole?") from error
    os.replace(part, done)
    return done
