"""The version of nnunet_ext that runs here as a wheel, made of its files, without a build tool or a network."""

import base64
import hashlib
import importlib.metadata
import importlib.util
import zipfile
from pathlib import Path, PurePosixPath

import nnunet_ext
from nnunet_ext.containers.errors import ContainerError

START_UP_FILES = ("nnunet_ext.pth", "nnunet_ext.start")
MADE_ON_INSTALLATION = ("RECORD", "INSTALLER", "REQUESTED", "WHEEL", "direct_url.json")
"""Of the files about an installed distribution, those that a wheel does not hold or that are made anew."""

_WHEEL = "Wheel-Version: 1.0\nGenerator: nnunet-ext\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(folder: Path) -> Path:
    """Write the wheel into `folder`; returns its path.

    Raises:
        ContainerError: if nnunet_ext runs without being installed, so that nothing is known about its requirements.
    """
    try:
        distribution = importlib.metadata.distribution("nnunet-ext")
    except importlib.metadata.PackageNotFoundError as error:
        raise ContainerError("nnunet-ext is not installed, only imported: pip install it first") from error
    contents = _package(Path(nnunet_ext.__file__).parent, "nnunet_ext")
    contents |= _package(_trainers(), "nnunet_ext/trainers")
    info = f"nnunet_ext-{distribution.version}.dist-info"
    for file in distribution.files or []:
        if file.name in START_UP_FILES and len(file.parts) == 1:
            contents[file.name] = file.read_binary()
        elif file.parts[0].endswith(".dist-info") and file.name not in MADE_ON_INSTALLATION:
            contents[str(PurePosixPath(info, *file.parts[1:]))] = file.read_binary()
    contents[f"{info}/WHEEL"] = _WHEEL.encode()
    record = f"{info}/RECORD"
    lines = [f"{name},sha256={_hash(content)},{len(content)}" for name, content in contents.items()]
    contents[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    wheel = folder / f"nnunet_ext-{distribution.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # of 1980: the same bytes each time
    return wheel


def _trainers() -> Path:
    spec = importlib.util.find_spec("nnunet_ext.trainers")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _package(folder: Path, name: str) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"{name}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in files}


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
