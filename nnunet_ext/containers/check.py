"""Run while an image is built: what prediction needs is there, and the model loads."""

from pathlib import Path

from nnunet_ext.containers import challenges, runtime
from nnunet_ext.containers.settings import Settings


def run(home: Path) -> None:
    """Load the model once, as the container will. A model that comes as a tarball is not there yet."""
    runtime.prepare()
    settings = Settings.read(home)
    from nnunet_ext.containers import predict

    if settings.model != challenges.TARBALL_FOLDER:
        predict.load(Path(settings.model), settings)


if __name__ == "__main__":
    run(Path(challenges.HOME))
