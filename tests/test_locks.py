"""Locks between processes that may be killed at any moment."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from nnunet_ext import locks
from nnunet_ext.locks import Lock, LockedError, Owner, is_held, last_owner

# Waits for the lock, and in it reads a number, dawdles and writes the next one; some are killed before they let go.
WORKER = """
import os, signal, sys, time
from pathlib import Path
from nnunet_ext.locks import Lock, LockedError

folder, dies = Path(sys.argv[1]), sys.argv[2] == "dies"
while True:
    try:
        with Lock(folder / "lock"):
            os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))
            number = int((folder / "number").read_text())
            time.sleep(0.01)
            (folder / "number").write_text(str(number + 1))
            (folder / "inside").unlink()
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)
        break
    except LockedError:
        time.sleep(0.001)
"""


def _worker(folder: Path, dies: bool) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WORKER, str(folder), "dies" if dies else "lives"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_processes_that_race_and_die_are_never_inside_together(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    for _ in range(3):
        workers = [(dies, _worker(tmp_path, dies)) for dies in (True, False, True, True, False)]
        for dies, worker in workers:
            _, errors = worker.communicate(timeout=60)
            assert worker.returncode == (-signal.SIGKILL if dies else 0), errors
    assert (tmp_path / "number").read_text() == "15"


def test_two_processes_and_one_lock(tmp_path: Path) -> None:
    with Lock(tmp_path / "lock"):
        command = [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from nnunet_ext.locks import Lock",
        ]
        command[-1] += "; Lock(Path(sys.argv[1])).__enter__()"
        done = subprocess.run([*command, str(tmp_path / "lock")], capture_output=True, text=True)
        assert f"is held by process {os.getpid()} on " in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_dead_process_and_one_with_its_number_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    worker = _worker(tmp_path, dies=True)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # dead, and a zombie until somebody asks for its code
    owner = last_owner(tmp_path / "lock")
    assert owner is not None
    assert owner.pid == worker.pid
    assert not owner.is_alive()
    worker.communicate()
    assert not is_held(tmp_path / "lock")
    assert Owner.myself().is_alive()
    assert not replace(Owner.myself(), started=1).is_alive()
    with Lock(tmp_path / "lock") as lock:
        assert lock.taken_from == owner
        assert is_held(tmp_path / "lock")


def test_a_lock_that_was_cut_off_while_written_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "SECONDS_TO_WRITE", 0.3)
    (tmp_path / "lock.0").touch()
    with Lock(tmp_path / "lock"):
        assert is_held(tmp_path / "lock")


@pytest.mark.parametrize(
    ("squeue", "job", "free"),
    [
        ("echo RUNNING", "77", False),
        ("echo PENDING", "77", False),
        ("echo CANCELLED", "77", True),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", "77", True),
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", "77", False),
        (None, "77", False),
        (None, None, False),
    ],
    ids=["running", "pending", "cancelled", "forgotten", "no-answer", "no-squeue", "no-slurm-job"],
)
def test_a_process_on_another_host_is_dead_when_slurm_says_so(
    squeue: str | None, job: str | None, free: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if squeue:
        _program(tmp_path / "squeue", squeue)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin" if squeue else str(tmp_path))
    leave_lock(tmp_path / "lock", replace(Owner.myself(), host="node17", slurm_job=job))
    if free:
        with Lock(tmp_path / "lock"):
            pass
    else:
        with pytest.raises(LockedError, match="on node17"), Lock(tmp_path / "lock"):
            pass


def test_a_job_that_was_requeued_to_another_host_takes_its_own_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path / "squeue", "echo RUNNING")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    leave_lock(tmp_path / "lock", replace(Owner.myself(), host="node17", slurm_job="77"))
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with Lock(tmp_path / "lock"):
        pass


def leave_lock(path: Path, owner: Owner) -> None:
    """Leave the lock of a process elsewhere."""
    path.with_name(f"{path.name}.0").write_text(json.dumps(asdict(owner)))


def _program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
