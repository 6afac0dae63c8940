"""Whether stock nnU-Net finds our trainers, and if not, at which step it gets lost."""

import contextlib
import importlib
import importlib.metadata
import io
import os
import site
import sys
from collections.abc import Iterable
from pathlib import Path

from nnunet_ext import _startup
from nnunet_ext.doctor.check import Check, fail, ok, sentence, warn

TRAINER = "nnUNetTrainerLKMUNet"
START_UP_FILES = ("nnunet_ext.pth", "nnunet_ext.start")
BY_HAND = f"export {_startup.VARIABLE}=$(nnunet-ext path)"


def checks() -> Iterable[Check]:
    """The start-up files, the variable that they set, and nnU-Net's own look-up."""
    yield _start_up_files()
    entries = [entry for entry in os.environ.get(_startup.VARIABLE, "").split(os.pathsep) if entry]
    yield _variable(entries)
    for entry in entries:
        if not os.path.isdir(entry):
            yield warn(_startup.VARIABLE, f"names {entry}, which is no folder", "nnU-Net skips it: correct it")
    if _startup.FOLDER in entries:
        yield _look_up()


def _start_up_files() -> Check:
    title = "start-up files"
    try:
        installed = importlib.metadata.distribution("nnunet-ext")
    except importlib.metadata.PackageNotFoundError:
        return warn(title, "nnunet_ext is on the path, but not installed", f"pip install it, or: {BY_HAND}")
    files = [Path(str(installed.locate_file(name))) for name in START_UP_FILES]
    folder = files[0].parent
    if missing := [file.name for file in files if not file.is_file()]:
        return warn(title, f"{' and '.join(missing)} missing in {folder}", f"install nnunet_ext again, or: {BY_HAND}")
    if sys.flags.no_site:
        return warn(title, "Python was started with -S and runs none", f"start it without -S, or: {BY_HAND}")
    if folder.resolve() not in _site_folders():
        return warn(title, f"{folder} is on the path, but Python runs no start-up files there", BY_HAND)
    return ok(title, str(folder))


def _site_folders() -> set[Path]:
    folders = site.getsitepackages()
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return {Path(folder).resolve() for folder in folders}


def _variable(entries: list[str]) -> Check:
    opted_out = os.environ.get(_startup.OPT_OUT, "") not in ("", "0")
    if _startup.FOLDER in entries:
        return ok(_startup.VARIABLE, os.pathsep.join(entries))
    if opted_out:
        return fail(
            _startup.VARIABLE,
            f"lacks our folder, as {_startup.OPT_OUT} asks",
            f"unset {_startup.OPT_OUT}, or: {BY_HAND}",
        )
    return fail(_startup.VARIABLE, "lacks our folder: no start-up file was run", BY_HAND)


def _look_up() -> Check:
    title = "nnU-Net's look-up"
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found = recursive_find_trainer_class_by_name(TRAINER)
    except Exception as error:
        return fail(title, f"does not find {TRAINER}: {sentence(error)}", "repair what this message names")
    if found is getattr(importlib.import_module("nnunet_ext.trainers"), TRAINER):
        return ok(title, f"finds {TRAINER}")
    if found.__module__.startswith("nnunetv2."):
        return fail(
            title,
            f"finds a {TRAINER} of nnU-Net's own ({found.__module__})",
            "derive a class of another name from ours, in a folder of your own (see the documentation)",
        )
    return warn(
        title,
        f"finds another {TRAINER}, in {found.__module__}",
        f"if that is not meant: remove its folder from {_startup.VARIABLE}",
    )
