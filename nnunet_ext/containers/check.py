"""Run while an image is built: what prediction needs is there, in the right versions, and the model loads.

What that computes once, and the kernels for the CPU, stay in the image. Kernels for GPUs are compiled when they run.
"""

import importlib
import importlib.metadata
import sys
from pathlib import Path

from nnunet_ext.containers import caches, challenges, runtime
from nnunet_ext.containers.settings import Settings


def run(home: Path) -> str | None:
    """Load the model once, as the container will. A model that comes as a tarball is not there yet.

    Args:
        home: the folder with settings.json and constraints.txt.

    Returns:
        What is wrong, in one sentence; None if nothing is.
    """
    runtime.prepare()
    settings = Settings.read(home)
    for line in (home / "constraints.txt").read_text().split():
        name, _, version = line.partition("==")
        found = importlib.metadata.version(name)
        if found != version:
            return (
                f"the image has {name} {found}, the model was packed with {version}: put that into the base or --wheels"
            )
    from nnunet_ext.containers.predict import load

    importlib.import_module("nnunetv2.inference.predict_from_raw_data")
    if settings.model != challenges.TARBALL_FOLDER:
        load(Path(settings.model), settings)
    return None


def compile_kernels() -> None:
    """Compile what networks with a scan need on the CPU, into numba's cache; nothing if numba does not load."""
    from nnunet_ext.ops.selective_scan.numba_cpu import NumbaBackend

    if NumbaBackend().problem("cpu") is None:
        from nnunet_ext.ops.selective_scan.numba_kernels import kernels

        kernels()


if __name__ == "__main__":
    if wrong := run(Path(challenges.HOME)):
        sys.exit(wrong)
    compile_kernels()
    caches.keep(Path(challenges.CACHES), Path(challenges.HOME))
