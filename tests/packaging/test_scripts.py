"""scripts/test says what it lacks, from whatever folder it is started."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "test"


def start(folder: Path, python: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin", "PYTHON": python, "VENV": str(folder / "venv")}
    return subprocess.run([SCRIPT], env=env, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("version", ["3.8", None], ids=["old", "absent"])
def test_python_that_is_too_old_or_absent(version: str | None, tmp_path: Path) -> None:
    python = tmp_path / "python"
    if version:
        # Answers the question of the script for its version as that version would.
        python.write_text("#!/bin/sh\nexit 1\n")
        python.chmod(0o755)
    done = start(tmp_path, str(python))
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_python_that_cannot_make_virtual_environments(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\n[ "$1" = -c ]\n')
    python.chmod(0o755)
    done = start(tmp_path, str(python))
    assert done.returncode == 1
    assert "apt install python3-venv" in done.stderr
