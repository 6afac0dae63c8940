"""One GPU per training: which there are, and a lease on one of them."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nnunet_ext.locks import Lock, LockedError

VARIABLE = "CUDA_VISIBLE_DEVICES"
SECONDS_BETWEEN_LOOKS = 5.0


def visible_devices() -> list[str]:
    """The CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them; without asking torch."""
    told = os.environ.get(VARIABLE)
    if told is not None:
        return [device.strip() for device in told.split(",") if device.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    # Not the index: nvidia-smi and CUDA count in different orders.
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.split() if done.returncode == 0 else []


@contextmanager
def leased(folder: Path, devices: Sequence[str]) -> Iterator[str]:
    """Wait until one of `devices` is free, and yield it; nobody else in the benchmark `folder` gets it meanwhile."""
    with ExitStack() as stack:
        while True:
            for device in devices:
                name = re.sub(r"\W", "_", f"{socket.gethostname()}_{device}")
                try:
                    stack.enter_context(Lock(folder / "devices" / name))
                except LockedError:
                    continue
                yield device
                return
            time.sleep(SECONDS_BETWEEN_LOOKS)


def needs_lease(devices: Sequence[str]) -> bool:
    """Whether there is something to share out: not in a SLURM job that has a single GPU, which is its own."""
    return len(devices) > 1 or (len(devices) == 1 and "SLURM_JOB_ID" not in os.environ)
