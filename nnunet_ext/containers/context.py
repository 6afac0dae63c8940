"""The folder that Docker builds an image from: Dockerfile, model, wheels, and what its program is told."""

import gzip
import importlib.metadata
import re
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from nnunet_ext.containers.challenges import FLARE, TARBALL_FOLDER, Challenge
from nnunet_ext.containers.challenges import HOME as IMAGE_HOME
from nnunet_ext.containers.errors import ContainerError
from nnunet_ext.containers.model import ChallengeModel
from nnunet_ext.containers.settings import Settings
from nnunet_ext.containers.wheel import write_wheel
from nnunet_ext.sharing.export import write_model

DEFAULT_BASE = "pytorch/pytorch:2.11.0-cuda12.6-cudnn9-runtime"
"""Python 3.12 with its headers, torch for GPUs from 2018 on, and the C compiler that Triton's kernels need.

PyTorch's runtime images have a compiler since December 2025 (https://github.com/pytorch/pytorch/pull/170235).
"""
PINNED = ("nnunetv2", "dynamic-network-architectures")
"""What a prediction depends on besides nnunet_ext and torch: the image gets the versions that are installed here."""

_IMAGE = re.compile(r"[\w][\w./:@-]*", re.ASCII)
_SLUG = re.compile(r"[\w][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Request:
    """What was asked for besides the model."""

    challenge: Challenge
    base: str
    """The image to start from."""
    wheels: Path | None
    """A folder of wheels, so that pip uses no network; None to let it."""
    step_size: float
    mirroring: bool
    inputs: Sequence[str]
    output: str
    ending: str
    tarball: Path | None
    """grand-challenge: where the model goes, instead of into the image."""

    def __post_init__(self) -> None:
        if not _IMAGE.fullmatch(self.base):
            raise ContainerError(f"--base is {self.base!r}, expected an image's name like {DEFAULT_BASE}")
        for name in [*self.inputs, *([self.output] if self.output else [])]:
            if not _SLUG.fullmatch(name):
                raise ContainerError(f"{name!r} is no name of an input or output: expected one like color-fundus")
        if not 0 < self.step_size <= 1:
            raise ContainerError(f"--step-size is {self.step_size}, expected more than 0 and at most 1")


def write_context(model: ChallengeModel, request: Request, folder: Path) -> None:
    """Fill an empty folder, and write the tarball of the model if there is to be one.

    Raises:
        ContainerError: if the wheels are not there.
        OSError: if something cannot be written.
    """
    for name in ("wheels", "trainers"):
        (folder / name).mkdir()
    for wheel in _wheels(request.wheels):
        shutil.copyfile(wheel, folder / "wheels" / wheel.name)
    own = write_wheel(folder / "wheels")
    if model.trainer is not None:
        shutil.copyfile(model.trainer, folder / "trainers" / model.trainer.name)
    write_model(model.model, folder / "model")
    if request.tarball is not None:
        write_tarball(folder / "model", request.tarball)
        shutil.rmtree(folder / "model")
        (folder / "model").mkdir()
    _settings(model, request).write(folder)
    (folder / "constraints.txt").write_text("".join(f"{name}=={importlib.metadata.version(name)}\n" for name in PINNED))
    _write_dockerfile(model, request, own.name, folder)
    written = sorted(path.name for path in folder.iterdir())
    (folder / ".dockerignore").write_text("*\n" + "".join(f"!{name}\n" for name in written if name != "Dockerfile"))
    for path in folder.rglob("*"):  # readable for the user of the container, whatever the umask
        path.chmod(0o755 if path.is_dir() else 0o644)


def write_tarball(model: Path, file: Path) -> None:
    """Write the files in `model` to a .tar.gz, without its owner and time: the same model gives the same bytes."""
    part = file.with_name(f".{file.name}.part")
    try:
        with (
            part.open("wb") as raw,
            gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            for path in sorted(model.rglob("*")):
                entry = archive.gettarinfo(path, path.relative_to(model).as_posix())
                entry.uid = entry.gid = entry.mtime = 0
                entry.uname = entry.gname = ""
                entry.mode = 0o755 if entry.isdir() else 0o644
                if entry.isdir():
                    archive.addfile(entry)
                    continue
                with path.open("rb") as content:
                    archive.addfile(entry, content)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _wheels(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    if not folder.is_dir():
        raise ContainerError(f"--wheels is {folder}, which is no folder: fill one with pip download")
    return sorted(folder.glob("*.whl"))


def _settings(model: ChallengeModel, request: Request) -> Settings:
    return Settings(
        target=request.challenge.name,
        model=f"{IMAGE_HOME}/model" if request.tarball is None else TARBALL_FOLDER,
        folds=model.model.folds,
        checkpoint=model.model.checkpoint_name,
        step_size=request.step_size,
        mirroring=request.mirroring,
        inputs=list(request.inputs),
        output=request.output,
        ending=request.ending,
    )


def _write_dockerfile(model: ChallengeModel, request: Request, wheel: str, folder: Path) -> None:
    templates = files("nnunet_ext.containers") / "image"
    text = "".join(
        (templates / name).read_text(encoding="utf-8")
        for name in ("Dockerfile", f"{request.challenge.name}.Dockerfile")
    )
    labels = {
        "target": request.challenge.name,
        "labels": " ".join(map(str, model.labels)),
        "inputs": " ".join(request.inputs),
        "output": request.output,
        "ending": request.ending,
        "tarball": "" if request.tarball is None else TARBALL_FOLDER,
    }
    wheels = f"{IMAGE_HOME}/wheels"
    online = f"--constraint {IMAGE_HOME}/constraints.txt {wheels}/{wheel}"
    # Without dependencies: pip counts some that are installed as missing (argparse, which Python itself has).
    offline = f"--no-index --no-deps {wheels}/*.whl"
    replaced = {
        "@BASE_IMAGE@": request.base,
        "@PIP@": online if request.wheels is None else offline,
        "@LABELS@": "LABEL " + " \\\n      ".join(f'nnunet-ext.{name}="{value}"' for name, value in labels.items()),
    }
    for placeholder, value in replaced.items():
        text = text.replace(placeholder, value)
    (folder / "Dockerfile").write_text(text, encoding="utf-8")
    if request.challenge is FLARE:
        (folder / "predict.sh").write_text((templates / "predict.sh").read_text(encoding="utf-8"), newline="\n")
