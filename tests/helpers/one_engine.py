"""The Docker engine that tests bring up, where they may."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

SCRIPT = Path(__file__).with_name("one_engine")
PYTHON = (3, 11)
"""What Debian 12 has."""


def reason_against() -> str:
    """Why it cannot be brought up here, in words; empty if it can."""
    if os.environ.get("CI") != "true":
        return "installs and starts a Docker engine of its own, which it does only with CI=true"
    if os.geteuid() != 0:
        return "installs and starts a Docker engine of its own, which only root can"
    if shutil.which("apt-get") is None:
        return "installs a Docker engine of its own with apt-get, which is not here"
    if sys.version_info[:2] != PYTHON:
        return f"Debian 12 runs the packages of this environment only with Python {'.'.join(map(str, PYTHON))}"
    return ""


def start(folder: Path) -> dict[str, str]:
    """Bring it up; returns the variables for docker. AssertionError with the script's words if that does not work."""
    _run("start", folder)
    return {"DOCKER_HOST": f"unix://{folder}/docker.sock", "DOCKER_BUILDKIT": "0"}


def make_base(folder: Path, image: str) -> None:
    """Make an image of Debian with everything that nnunet_ext needs."""
    _run("base", folder, image, sysconfig.get_path("purelib"))


def stop(folder: Path) -> None:
    """Take it down, with its images."""
    _run("stop", folder)


def _run(command: str, folder: Path, *more: str) -> None:
    # Into a file: the daemon keeps its output open.
    log = folder.with_suffix(".log")
    with log.open("ab") as file:
        code = subprocess.run([SCRIPT, command, folder, *more], stdout=file, stderr=file, timeout=900).returncode
    assert code == 0, log.read_text()
