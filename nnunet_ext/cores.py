"""The CPU cores that this process may use."""

import os


def usable() -> int:
    """How many cores the scheduler gives this process: fewer than the machine has under SLURM, taskset and cpusets."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
