"""Docker by its command line."""

import gzip
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.containers.errors import ContainerError

LINES_SHOWN = 15
"""How much of its output a failed build shows."""
PLATFORM = "linux/amd64"
"""What both challenges run."""
ROOT = ("", "root", "0")


@dataclass(frozen=True)
class Image:
    """What Docker knows of an image."""

    labels: dict[str, str]
    user: str
    entry_point: list[str]
    platform: str
    size: int
    """Bytes, not compressed."""

    @property
    def is_root(self) -> bool:
        """Whether its user is root."""
        return self.user.partition(":")[0] in ROOT


def check() -> None:
    """See whether there is a Docker engine.

    Raises:
        ContainerError: if there is none.
    """
    if shutil.which("docker") is None:
        raise ContainerError("the command docker is not installed: install Docker, or only write the files (--dry-run)")
    try:
        done = subprocess.run(["docker", "version"], capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired as error:
        raise ContainerError("the Docker engine does not answer within a minute: restart it") from error
    if done.returncode != 0:
        raise ContainerError(f"the Docker engine does not answer ({_last(done.stderr)}): start it, or set DOCKER_HOST")


def build_command(context: Path, tag: str, offline: bool) -> list[str]:
    """The words that build an image; see `build`."""
    network = ["--network", "none"] if offline else []
    return ["docker", "build", "--platform", PLATFORM, *network, "--tag", tag, str(context)]


def build(context: Path, tag: str, offline: bool, on_line: Callable[[str], None]) -> None:
    """Build an image.

    Args:
        context: the folder with the Dockerfile.
        tag: the image's name.
        offline: whether the steps of the build get no network.
        on_line: hears each line of the output.

    Raises:
        ContainerError: if it fails; the message holds the end of the output.
    """
    command = build_command(context, tag, offline)
    lines: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace"
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines = [*lines[1 - LINES_SHOWN :], line.rstrip()]
                on_line(line.rstrip())
        except BaseException:
            process.terminate()  # the engine then ends the build
            process.wait()
            raise
    if process.returncode != 0:
        raise ContainerError("docker build failed:\n" + "\n".join(lines))


def inspect(image: str) -> Image:
    """What Docker knows of an image.

    Raises:
        ContainerError: if it is not there.
    """
    done = subprocess.run(["docker", "image", "inspect", image], capture_output=True, text=True)
    if done.returncode != 0:
        raise ContainerError(f"there is no image {image} ({_last(done.stderr)}): build it, or docker load its file")
    (found,) = json.loads(done.stdout)
    config = found["Config"]
    return Image(
        labels=config.get("Labels") or {},
        user=config.get("User") or "",
        entry_point=config.get("Entrypoint") or [],
        platform=f"{found['Os']}/{found['Architecture']}",
        size=found["Size"],
    )


def save(image: str, file: Path) -> int:
    """`docker save IMAGE | gzip > FILE`; returns its bytes. Nothing half-written is left.

    Raises:
        ContainerError: if Docker fails.
        OSError: if the file cannot be written.
    """
    part = file.with_name(f".{file.name}.part")
    try:
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            # The fastest level: CUDA's libraries hardly get smaller by the others, which take several times as long.
            try:
                with gzip.open(part, "wb", compresslevel=1) as packed:
                    shutil.copyfileobj(process.stdout, packed, 1 << 20)
            except BaseException:
                process.kill()
                process.wait()
                raise
            said = process.stderr.read().decode(errors="replace")
        if process.returncode != 0:
            raise ContainerError(f"docker save failed: {_last(said)}")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return file.stat().st_size


def process_of(container: str) -> int | None:
    """The process number of a running container's first process, as this machine sees it; None if it does not run."""
    done = subprocess.run(
        ["docker", "container", "inspect", "--format", "{{.State.Pid}}", container], capture_output=True, text=True
    )
    number = done.stdout.strip()
    return int(number) if done.returncode == 0 and number.isdigit() and number != "0" else None


def remove(container: str) -> None:
    """Kill a container and remove it, if it is there."""
    subprocess.run(["docker", "container", "rm", "--force", container], capture_output=True)


def run(arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """`docker run` to its end; for what takes no time."""
    return subprocess.run(["docker", "run", "--rm", *arguments], capture_output=True, text=True)


def _last(said: str) -> str:
    return (said.strip().splitlines() or ["it said nothing"])[-1]
