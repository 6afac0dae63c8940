"""The program of an image for grand-challenge.org: /input/images/*/*.mha becomes /output/images/NAME/output.mha.

A job is one case. /input/inputs.json lists the job's inputs; an image's folder is the `relative_path` of its interface,
which newer versions of the platform call socket.
"""

import json
import sys
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from nnunet_ext.containers import challenges, runtime
from nnunet_ext.containers.errors import CaseError
from nnunet_ext.containers.settings import Settings

ENDINGS = (".mha", ".tif", ".tiff")
"""The platform gives no other images."""


def run(input_: Path, output: Path, home: Path) -> int:
    """Predict the one case of a job.

    Args:
        input_: the folder with inputs.json.
        output: the folder for `images`.
        home: the folder with settings.json.

    Returns:
        The exit code: 0, or 1 if there is no prediction, and then a line says why.
    """
    runtime.prepare()
    try:
        _run(input_, output, Settings.read(home))
    except Exception as error:  # of a damaged image or model, or a full memory: the log gets one line
        runtime.say(f"not predicted: {runtime.reason(error)}")
        return 1
    return 0


def _run(input_: Path, output: Path, settings: Settings) -> None:
    images = find_images(input_, settings.inputs)
    if not Path(settings.model).is_dir():
        raise CaseError(f"{settings.model} is missing: upload the model's tarball with the algorithm")
    from nnunet_ext.containers.images import as_read_by, ending_of, write_like
    from nnunet_ext.containers.predict import load, predict, reader_of

    predictor = load(Path(settings.model), settings)
    reader = reader_of(predictor)
    folder = output / "images" / settings.output
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        files = [file for image in images for file in as_read_by(reader, image, Path(temporary))]
        labels = Path(temporary, f"labels{ending_of(reader)}")
        predict(predictor, files, labels)
        runtime.write_whole(folder / f"output{settings.ending}", lambda part: write_like(images[0], labels, part))


def find_images(input_: Path, names: list[str]) -> list[Path]:
    """The images of a job.

    Args:
        input_: the folder with inputs.json.
        names: slugs or folders of the inputs, in the order of the channels; empty for the only image.

    Raises:
        CaseError: if one of them is missing, or there are more than one where one is expected.
    """
    folders = _image_folders(input_ / "inputs.json")
    if not names:
        if len(folders) != 1:
            raise CaseError(f"expected one image in inputs.json, found {', '.join(folders) or 'none'}")
        names = list(folders)
    by_name = folders | {folder.name: folder for folder in folders.values()}
    images = []
    for name in names:
        if name not in by_name:
            raise CaseError(f"inputs.json has no image {name}, only {', '.join(folders) or 'none'}")
        images.append(_only_image(input_ / by_name[name]))
    return images


def _image_folders(file: Path) -> dict[str, PurePosixPath]:
    """Folders of the images below /input, by slug."""
    try:
        entries: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        interfaces = [entry.get("socket") or entry["interface"] for entry in entries]
        slugs = {str(interface["slug"]): interface for interface in interfaces}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CaseError(f"{file} is missing or not what the platform writes ({type(error).__name__})") from error
    folders = {
        slug: PurePosixPath(interface.get("relative_path") or f"images/{slug}") for slug, interface in slugs.items()
    }
    return {slug: folder for slug, folder in folders.items() if folder.parts[:1] == ("images",)}


def _only_image(folder: Path) -> Path:
    if ".." in folder.parts:
        raise CaseError(f"{folder} leads out of the input folder")
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    images = [path for path in found if path.suffix.lower() in ENDINGS and path.is_file()]
    if len(images) != 1:
        names = ", ".join(path.name for path in found)
        raise CaseError(f"expected one {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]} in {folder}, found {names or 'none'}")
    return images[0]


if __name__ == "__main__":
    sys.exit(run(Path("/input"), Path("/output"), Path(challenges.HOME)))
