"""An image, run as its challenge runs it."""

import contextlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.containers import checks, docker
from nnunet_ext.containers.challenges import FLARE, TARBALL_FOLDER, Challenge
from nnunet_ext.containers.errors import ContainerError
from nnunet_ext.containers.jobs import Job
from nnunet_ext.containers.measure import INTERVAL, Measured, Sampler, gpu_memory

KILLED = 137
"""The exit code of what was killed with SIGKILL, as for using too much memory."""


@dataclass(frozen=True)
class Run:
    """How the containers are started."""

    image: str
    challenge: Challenge
    memory: str
    gpu: bool
    timeout: float
    """Seconds for each."""
    model: Path | None
    """The folder of a model that came as a tarball."""


@dataclass(frozen=True)
class Outcome:
    """What came of one job."""

    name: str
    problems: list[str]
    seconds: float
    measured: Measured


def run_job(job: Job, run: Run, labels: Sequence[int] | None, keep: Path | None) -> Outcome:
    """Run one container on one job, and check what it wrote.

    Args:
        job: the inputs.
        run: how.
        labels: the values that are allowed; None for any whole numbers.
        keep: a folder that gets what was written; None to delete it.
    """
    with tempfile.TemporaryDirectory(prefix="nnunet-ext-") as temporary:
        inputs, outputs = Path(temporary, "inputs"), Path(temporary, "outputs")
        outputs.mkdir()
        outputs.chmod(0o777)
        _place(job, inputs)
        problems, seconds, measured = _run(run, inputs, outputs)
        _make_deletable(run.image, outputs)
        problems += checks.problems(outputs, job.output, job.image, labels)
        if keep is not None:
            shutil.copytree(outputs, keep, symlinks=True, dirs_exist_ok=True)
    return Outcome(job.name, problems, seconds, measured)


def command(run: Run, container: str, inputs: Path, outputs: Path) -> list[str]:
    """`docker container run` as the challenge calls it, without a network in either case."""
    limits = ["--network", "none", "--memory", run.memory, "--memory-swap", run.memory]
    gpu = ["--gpus", "device=0"] if run.gpu else []
    start = ["docker", "container", "run", "--name", container, "--rm", *limits]
    shared = ["--shm-size", run.challenge.shared_memory, *gpu]
    if run.challenge is FLARE:
        volumes = ["--volume", f"{inputs}:/workspace/inputs/:ro", "--volume", f"{outputs}:/workspace/outputs/"]
        return [*start, *shared, *volumes, run.image, "/bin/bash", "-c", "sh predict.sh"]
    volumes = ["--volume", f"{inputs}:/input:ro", "--volume", f"{outputs}:/output"]
    if run.model is not None:
        volumes += ["--volume", f"{run.model}:{TARBALL_FOLDER}:ro"]
    rights = [
        "--read-only",
        "--cap-drop",
        "all",
        "--security-opt",
        "no-new-privileges",
        "--pids-limit",
        "128",
        "--init",
    ]
    # The platform's /tmp is a volume, from which compiled kernels can be loaded; Docker's tmpfs forbids that unasked.
    return [*start, *shared, *rights, "--tmpfs", "/tmp:exec", *volumes, run.image]


def extract(tarball: Path, folder: Path) -> None:
    """Extract a model's tarball; nothing can get out of `folder`.

    Raises:
        ContainerError: if it is none, or holds what would lie elsewhere.
    """
    try:
        with tarfile.open(tarball, "r:gz") as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ContainerError(f"{tarball} cannot be extracted ({error}): expected the .tar.gz of a model") from error
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _place(job: Job, folder: Path) -> None:
    for name, file in job.files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    for name, text in job.texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for path in (folder, *folder.rglob("*")):  # readable for the user of the container
        path.chmod(0o755 if path.is_dir() else 0o644)


def _run(run: Run, inputs: Path, outputs: Path) -> tuple[list[str], float, Measured]:
    container = f"nnunet-ext-{uuid.uuid4().hex[:12]}"
    sampler = Sampler(container)
    begun = time.monotonic()
    sampled: contextlib.AbstractContextManager[list[float]] = gpu_memory() if run.gpu else contextlib.nullcontext([])
    with sampled as gpu, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command(run, container, inputs, outputs), stdout=log, stderr=log)
        is_late = False
        try:
            while not _has_ended(process):
                sampler.sample()
                if time.monotonic() - begun > run.timeout:
                    is_late = True
                    break
        finally:
            if process.poll() is None:
                docker.remove(container)
            code = process.wait()
        seconds = time.monotonic() - begun
        log.seek(0)
        said = log.read().decode(errors="replace").strip().splitlines()
    problems = []
    if is_late:
        problems.append(f"was killed after {run.timeout:g} s")
    elif code == KILLED:
        problems.append(f"was killed, most likely for using more than {run.memory} of memory")
    elif code != 0:
        problems.append(f"exit code {code}: {said[-1].strip() if said else 'it said nothing'}")
    return problems, seconds, sampler.result(gpu, seconds)


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    try:
        process.wait(INTERVAL)
    except subprocess.TimeoutExpired:
        return False
    return True


def _make_deletable(image: str, outputs: Path) -> None:
    """Folders that another user made are not ours to delete: root of the container gives them free."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return
    if not any(path.is_dir() for path in outputs.iterdir()):
        return
    entry = ["--network", "none", "--user", "0", "--volume", f"{outputs}:/outputs", "--entrypoint", "/bin/sh"]
    docker.run([*entry, image, "-c", "chmod -R a+rwX /outputs"])
