"""Python and the packages that nnU-Net and our trainers stand on."""

import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Iterable

from nnunet_ext import __version__
from nnunet_ext.doctor.check import Check, fail, ok, sentence

TOGETHER = "reinstall them together, so that pip takes two that fit: pip install --force-reinstall torch torchvision"


def checks() -> Iterable[Check]:
    """Python, nnunet_ext, nnU-Net, torch, and what nnU-Net's trainer look-up imports on its way."""
    yield ok("Python", f"{platform.python_version()} ({sys.executable})")
    yield ok("nnunet_ext", __version__)
    yield _nnunet()
    yield _importable("torch", "pip install torch")
    # The look-up of every trainer that is not nnU-Net's own imports timm, and timm imports torchvision.
    yield _importable("torchvision", TOGETHER)
    yield _importable("timm", TOGETHER)


def _nnunet() -> Check:
    fix = 'pip install "nnunetv2>=2.8,<3"'
    try:
        version = importlib.metadata.version("nnunetv2")
    except importlib.metadata.PackageNotFoundError:
        return fail("nnunetv2", "not installed", fix)
    if not (2, 8) <= _numbers(version) < (3, 0):
        return fail("nnunetv2", f"{version}; before 2.8 it finds no trainers of others, 3 is unknown", fix)
    imported = _importable("nnunetv2", f"{fix} --force-reinstall --no-deps")
    return ok("nnunetv2", version) if imported.state == "ok" else imported


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in version.split(".")[:2])


def _importable(name: str, fix: str) -> Check:
    try:
        module = importlib.import_module(name)
    # A package built for another torch raises RuntimeError or OSError as well as ImportError.
    except Exception as error:
        return fail(name, f"cannot be imported, so nnU-Net finds no trainer of ours: {sentence(error)}", fix)
    return ok(name, str(getattr(module, "__version__", "present")))
