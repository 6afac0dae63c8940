"""Run while an image is built: what prediction needs is there, in the right versions, and the model loads."""

import importlib
import importlib.metadata
import sys
from pathlib import Path

from nnunet_ext.containers import challenges, runtime
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


if __name__ == "__main__":
    sys.exit(run(Path(challenges.HOME)))
