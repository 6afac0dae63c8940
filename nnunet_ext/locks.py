"""Locks that outlive nothing: files that name their owner, so that what a dead process left can be taken over.

A lock is a chain of files, `<path>.0`, `<path>.1`, ...; the last one's owner holds it. Each is made with O_EXCL, which
is atomic on NFS too. Whoever finds the last owner dead makes the next file, which only one process can, and then
checks that the owners before it are still those it saw: a release in between removes the chain from its beginning.
So no file that belongs to another process is ever removed, and there is no moment in which two take over one lock.
"""

import json
import os
import random
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from nnunet_ext import slurm

SECONDS_TO_WRITE = 10.0
"""A lock that is empty for longer was left by a process that died while it wrote its name."""


class LockedError(Exception):
    """Another process holds the lock."""


@dataclass(frozen=True)
class Owner:
    """A process that holds, or held, a lock."""

    host: str
    pid: int
    started: int | None
    """Start of the process in clock ticks since the boot; None where the system does not tell."""
    slurm_job: str | None
    since: float
    """Of the lock, in seconds since 1970."""

    @classmethod
    def myself(cls) -> "Owner":
        """The process that asks."""
        pid = os.getpid()
        job = os.environ.get("SLURM_JOB_ID")
        return cls(socket.gethostname(), pid, _start(pid), job, time.time())

    def is_alive(self) -> bool:
        """Whether the process runs; True where that cannot be found out, as on another host without SLURM."""
        if self.pid == 0:
            return False
        here = Owner.myself()
        if self.host == here.host:
            return _runs(self.pid) and self.started == _start(self.pid)
        if self.slurm_job is None:
            return True
        # A job of ours has one host: if this is the same one, it was requeued from there.
        return self.slurm_job != here.slurm_job and not slurm.is_gone(self.slurm_job)

    def __str__(self) -> str:
        """The owner in words."""
        job = f", SLURM job {self.slurm_job}" if self.slurm_job else ""
        return f"process {self.pid} on {self.host}{job}"


UNKNOWN = Owner("", 0, None, None, 0.0)


class Lock:
    """Held while entered; `LockedError` at once if a living process holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._length = 0
        self._pid = 0
        self.taken_from: Owner | None = None
        """The dead owner that it was taken over from."""

    def __enter__(self) -> "Lock":
        """Take the lock."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while not self._take():
            time.sleep(random.uniform(0.05, 0.3))
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        if os.getpid() != self._pid:
            return  # a forked worker that unwinds
        for number in range(self._length):
            _file(self._path, number).unlink(missing_ok=True)

    def _take(self) -> bool:
        """Whether this process holds the lock now; if not, it changed hands meanwhile and is worth another look."""
        dead: list[Owner] = []
        while not _create(file := _file(self._path, len(dead))):
            owner = _read(file)
            if owner is None:
                return False
            if owner.is_alive():
                raise LockedError(f"{self._path} is held by {owner}")
            dead.append(owner)
        if [_read(_file(self._path, number)) for number in range(len(dead))] != dead:
            file.unlink()
            return False
        self._length, self._pid = len(dead) + 1, os.getpid()
        self.taken_from = dead[-1] if dead else None
        return True


def last_owner(path: Path) -> Owner | None:
    """Who holds the lock or died with it; None if it is free."""
    owner, number = None, 0
    while (found := _read(_file(path, number))) is not None:
        owner, number = found, number + 1
    return owner


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    owner = last_owner(path)
    return owner is not None and owner.is_alive()


def _file(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _create(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        with os.fdopen(descriptor, "w") as stream:
            json.dump(asdict(Owner.myself()), stream)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:  # a full disk
        file.unlink(missing_ok=True)
        raise
    return True


def _read(file: Path) -> Owner | None:
    """The owner that a file names; None if it is not there."""
    deadline = time.monotonic() + SECONDS_TO_WRITE
    while True:
        try:
            return Owner(**json.loads(file.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            if time.monotonic() > deadline:
                return UNKNOWN
            time.sleep(0.1)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _stat(pid)[:1] not in (["Z"], ["X"])  # a zombie does nothing any more


def _start(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[19]) if len(fields) > 19 else None


def _stat(pid: int) -> list[str]:
    """The fields of Linux's /proc/PID/stat from the process's state on; empty elsewhere."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []
