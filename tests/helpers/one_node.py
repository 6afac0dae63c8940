"""The one-node SLURM that tests bring up, where they may."""

import os
import shutil
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).with_name("one_node_slurm")
CONFIG = Path("/etc/slurm/slurm.conf")


def reason_against() -> str:
    """Why it cannot be brought up here, in words; empty if it can."""
    if os.environ.get("CI") != "true":
        return "installs and starts a SLURM of its own, which it does only with CI=true"
    if os.geteuid() != 0:
        return "installs and starts a SLURM of its own, which only root can"
    if shutil.which("slurmctld") is None and shutil.which("apt-get") is None:
        return "installs a SLURM of its own with apt-get, which is not here"
    if CONFIG.exists() and "nnunet_ext" not in CONFIG.read_text():
        return f"this machine has a SLURM of its own, see {CONFIG}"
    return ""


def start(folder: Path) -> None:
    """Bring it up; AssertionError with the script's words if that does not work."""
    _run("start", folder)


def stop(folder: Path) -> None:
    """Take it down."""
    _run("stop", folder)


def _run(command: str, folder: Path) -> None:
    # Into a file: the daemons keep their output open.
    log = folder.with_suffix(".log")
    with log.open("ab") as file:
        code = subprocess.run([SCRIPT, command, folder], stdout=file, stderr=file, timeout=600).returncode
    assert code == 0, log.read_text()
