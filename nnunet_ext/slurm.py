"""What SLURM says of jobs."""

import os
import subprocess
from collections.abc import Mapping

SECONDS_FOR_AN_ANSWER = 60
FINISHED = {
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "PREEMPTED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
    "DEADLINE",
}


def is_gone(job: str) -> bool:
    """Whether SLURM says that the job has ended; False where it does not answer."""
    command = ["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_FOR_AN_ANSWER)
    except (OSError, subprocess.TimeoutExpired):
        return False
    if done.returncode != 0:  # a job that ended a while ago is forgotten; anything else may pass
        return "Invalid job id" in done.stderr
    return all(state in FINISHED for state in done.stdout.split())


def has_accounting() -> bool:
    """Whether `sacct` answers: its program is installed on clusters without accounting, too."""
    try:
        done = subprocess.run(["sacct", "-X", "-n"], capture_output=True, timeout=SECONDS_FOR_AN_ANSWER)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def cores(environment: Mapping[str, str] = os.environ) -> int | None:
    """The CPU cores of the job that this process belongs to; None outside of SLURM."""
    for variable in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_PER_GPU", "SLURM_CPUS_ON_NODE"):
        if environment.get("SLURM_JOB_ID") and environment.get(variable, "").isdigit():
            return int(environment[variable])
    return None
