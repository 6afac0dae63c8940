"""Memory, CPU and GPU of a running container, sampled ten times a second as FLARE's script does.

The areas are those that FLARE ranks: GPU memory over time, and CPU utilisation over time. FLARE measures the whole
machine; memory and CPU are measured here for the container alone, by its control groups, which only Linux shows.
"""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.containers import docker
from nnunet_ext.inference import control_groups

INTERVAL = 0.1
"""Seconds between two samples."""
GPU_QUERY = ("--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Measured:
    """What was measured of a run; None where this machine does not show it."""

    memory: int | None
    """The most bytes at a time, without what the kernel could drop to make room."""
    cpu_seconds: float | None
    gpu_memory: float | None
    """The most MB at a time, of everything that runs on the GPU."""
    gpu_area: float | None
    """MB s."""


class Sampler:
    """Samples one container; call `sample` every INTERVAL seconds while it runs."""

    def __init__(self, container: str) -> None:
        self._container = container
        self._groups: dict[str, Path] | None = None
        self._memory: int | None = None
        self._cpu: float | None = None

    def sample(self) -> None:
        """Read what the container uses now; nothing happens before it runs and after it has ended."""
        if self._groups is None:
            process = docker.process_of(self._container)
            if process is None:
                return
            self._groups = _groups_of(process)
        with contextlib.suppress(OSError, KeyError, ValueError):  # it has just ended, or its groups are elsewhere
            self._memory = max(self._memory or 0, memory(self._groups["memory"]))
            self._cpu = cpu_seconds(self._groups["cpuacct"])

    def result(self, gpu: Sequence[float], seconds: float) -> Measured:
        """What was measured, with samples of the GPU's memory in MB, which were taken in `seconds`."""
        return Measured(
            memory=self._memory,
            cpu_seconds=self._cpu,
            gpu_memory=max(gpu, default=None),
            gpu_area=sum(gpu) / len(gpu) * seconds if gpu else None,
        )


def memory(group: Path) -> int:
    """Bytes in use by the processes of a control group and in its tmpfs: not what the kernel caches of files."""
    lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
    entries = {name: int(value) for name, value in lines}
    if "total_rss" in entries:  # version 1
        return entries["total_rss"] + entries["total_shmem"]
    return entries["anon"] + entries["shmem"]


def cpu_seconds(group: Path) -> float:
    """Seconds of one CPU that a control group has used."""
    file = group / "cpuacct.usage"
    if file.is_file():  # version 1
        return int(file.read_text()) / 1e9
    entries = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    return int(entries["usage_usec"]) / 1e6


def has_gpu() -> bool:
    """Whether nvidia-smi finds a GPU."""
    if shutil.which("nvidia-smi") is None:
        return False
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return listed.returncode == 0 and "GPU 0" in listed.stdout


@contextlib.contextmanager
def gpu_memory() -> Iterator[list[float]]:
    """A list that holds, once the block has ended, the memory in use of GPU 0 in MB, every INTERVAL seconds."""
    samples: list[float] = []
    with tempfile.TemporaryFile("w+") as file:
        command = ["nvidia-smi", *GPU_QUERY, f"--loop-ms={1000 * INTERVAL:.0f}"]
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
        try:
            yield samples
        finally:
            process.terminate()
            process.wait()
            file.seek(0)
            samples += [float(line) for line in file.read().split() if line.isdigit()]


def _groups_of(process: int) -> dict[str, Path]:
    try:
        return control_groups.groups(Path(f"/proc/{process}/cgroup").read_text().splitlines())
    except OSError:  # it has just ended, or this is not Linux
        return {}
