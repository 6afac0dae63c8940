"""What a command costs: seconds, memory of all its processes, files without a name."""

import contextlib
import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

GIB = 2**30
POLL_SECONDS = 0.2


@dataclass
class Cost:
    """Of one run of a command."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of all processes; after a kill, without its workers."""
    peak_gib: float = 0.0
    """Of memory, of all processes at one time; a page that several of them have counts once (PSS)."""
    peak_file_gib: float = 0.0
    """Of files that have no name any more, at one time."""
    peak_processes: int = 0
    ended: str = ""

    def rounded(self) -> dict[str, Any]:
        """For JSON."""
        return {key: round(value, 2) if isinstance(value, float) else value for key, value in asdict(self).items()}


def watch(
    command: Sequence[str], environment: Mapping[str, str], log: Path, cap_gib: float, most_seconds: float
) -> Cost:
    """Run a command to its end, or kill it when it takes more memory than the cap, or more time."""
    cost = Cost()
    start = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=dict(environment), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            while not ended:
                _look(process.pid, cost)
                if not cost.ended and cost.peak_gib > cap_gib:
                    cost.ended = f"killed at {cap_gib:g} GiB"
                elif not cost.ended and time.monotonic() - start > most_seconds:
                    cost.ended = f"killed after {most_seconds:g} s"
                if cost.ended:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                time.sleep(POLL_SECONDS)
                ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        finally:
            for pid in _of_session(process.pid):  # workers of one that was killed; all of them after Ctrl-C
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    process.returncode = os.waitstatus_to_exitcode(status)
    cost.seconds = time.monotonic() - start
    cost.cpu_seconds = usage.ru_utime + usage.ru_stime
    cost.ended = cost.ended or ("done" if process.returncode == 0 else f"exit code {process.returncode}")
    return cost


def _look(session: int, cost: Cost) -> None:
    pids = list(_of_session(session))
    cost.peak_gib = max(cost.peak_gib, sum(_memory(pid) for pid in pids) / GIB)
    cost.peak_processes = max(cost.peak_processes, len(pids))
    cost.peak_file_gib = max(cost.peak_file_gib, _nameless_files(pids) / GIB)


def _of_session(session: int) -> Iterator[int]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                yield int(folder.name)


def _memory(pid: int) -> int:
    try:
        shares = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB$", shares, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def _nameless_files(pids: Sequence[int]) -> int:
    sizes = {}
    for pid in pids:
        try:
            for link in Path(f"/proc/{pid}/fd").iterdir():
                found = link.stat()
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
                    sizes[found.st_dev, found.st_ino] = 512 * found.st_blocks
        except OSError:
            continue
    return sum(sizes.values())
