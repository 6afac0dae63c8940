"""Downloads with a checksum: a file arrives whole and as expected, or not at all."""

import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import IO

SECONDS_WITHOUT_ANSWER = 30
CHUNK = 1 << 20

Advance = Callable[[float, str], None]
"""Called with the fraction done (0 to 1, 0 if the size is not known) and a few words."""


class ChecksumError(Exception):
    """A file is not the one that its checksum names."""


def download(url: str, target: Path, algorithm: str, checksum: str, advance: Advance | None = None) -> None:
    """Write what `url` holds to `target`, and its folder; several processes may do so at once.

    Args:
        url: any address that urllib opens.
        target: replaced, if it is there.
        algorithm: hashlib's name of the checksum, "md5" or "sha256".
        checksum: expected, in hexadecimal.
        advance: told about the progress.

    Raises:
        OSError: if the network or the disk does not let us.
        ChecksumError: if something else arrived.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, because another process may be downloading the same file.
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f"{target.name}.", suffix=".part", delete=False) as file:
        part = Path(file.name)
        try:
            _copy(url, file, advance)
            file.close()
            verify(part, algorithm, checksum)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)


def _copy(url: str, file: IO[bytes], advance: Advance | None) -> None:
    try:
        with urllib.request.urlopen(url, timeout=SECONDS_WITHOUT_ANSWER) as answer:
            total = int(answer.headers.get("Content-Length") or 0)
            done = 0
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                if advance is not None:
                    advance(done / total if total else 0.0, f"{done / 1e6:.0f} MB")
    except HTTPException as error:  # of half an answer, which is no OSError
        raise OSError(f"{type(error).__name__}: {error}") from error
    if total and done != total:
        raise OSError(f"the connection ended after {done} of {total} bytes")


def verify(path: Path, algorithm: str, checksum: str) -> None:
    """Raise ChecksumError unless the file has this checksum."""
    found = file_checksum(path, algorithm)
    if found != checksum.lower():
        raise ChecksumError(f"{algorithm.upper()} {found}, expected {checksum.lower()}")


def file_checksum(path: Path, algorithm: str) -> str:
    """The file's checksum in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=algorithm != "md5")).hexdigest()
