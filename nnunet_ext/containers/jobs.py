"""What a challenge would give an image one after the other: a job per case."""

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from nnunet_ext.containers.cases import ENDING, find_cases, in_order
from nnunet_ext.containers.challenges import FLARE, Challenge
from nnunet_ext.containers.errors import CaseError, ContainerError
from nnunet_ext.containers.grand_challenge import ENDINGS, find_images


@dataclass(frozen=True)
class Job:
    """One run of a container."""

    name: str
    image: Path
    """Whose geometry the output must have."""
    files: dict[str, Path]
    """What the mounted folder of inputs holds, by the path in it."""
    output: str
    """The only file that may be written, by its path in the mounted folder of outputs."""
    texts: dict[str, str] = field(default_factory=dict)
    """More files of the folder of inputs, by their content."""


def find_jobs(challenge: Challenge, folder: Path, inputs: list[str], output: str, ending: str) -> list[Job]:
    """The jobs that the files in `folder` make.

    Args:
        challenge: whose names they have.
        folder: FLARE: files CASE_0000.nii.gz. grand-challenge: images, each the only input of a job; or a folder with
            inputs.json as the platform mounts it, or several of those in one folder.
        inputs: grand-challenge: names of the images, in the order of the channels; empty for the only one.
        output: grand-challenge: the folder below /output/images.
        ending: grand-challenge: of the output.

    Raises:
        ContainerError: if there is no case.
    """
    if not folder.is_dir():
        raise ContainerError(f"--input is {folder}, which is no folder")
    if challenge is FLARE:
        return _flare(folder)
    target = f"images/{output}/output{ending}"
    ready = [path.parent for path in (folder / "inputs.json", *sorted(folder.glob("*/inputs.json"))) if path.is_file()]
    if ready:
        return [_ready(path, inputs, target) for path in ready]
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    if not images:
        raise ContainerError(f"{folder} holds no image ({', '.join(ENDINGS)}) and no inputs.json")
    if len(inputs) > 1:
        raise ContainerError(
            f"it takes {len(inputs)} images per case ({', '.join(inputs)}): give folders as the platform mounts "
            "them, each with inputs.json"
        )
    return [_job_of(image, inputs[0] if inputs else "image", target) for image in images]


def _flare(folder: Path) -> list[Job]:
    cases, others = find_cases(folder)
    if not cases:
        raise ContainerError(f"{folder} holds no case: expected files named CASE_0000{ENDING}")
    if others:
        raise ContainerError(f"{folder} holds {', '.join(others)}: expected only files named CASE_0000{ENDING}")
    jobs = []
    for name, channels in cases.items():
        try:
            files = in_order(channels)
        except CaseError as error:
            raise ContainerError(f"{name}: {error}") from error
        jobs.append(Job(name, files[0], {file.name: file for file in files}, f"{name}{ENDING}"))
    return jobs


def _ready(folder: Path, inputs: list[str], output: str) -> Job:
    try:
        images = find_images(folder, inputs)
    except CaseError as error:
        raise ContainerError(f"{folder}: {error}") from error
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return Job(folder.name, images[0], files, output)


def _job_of(image: Path, slug: str, output: str) -> Job:
    relative = f"images/{slug}"
    interface = {"slug": slug, "kind": "Image", "super_kind": "Image", "relative_path": relative}
    entry = {"interface": interface, "image": {"name": image.name}, "file": None, "value": None}
    return Job(
        name=image.name,
        image=image,
        files={f"{relative}/{uuid.uuid4()}{image.suffix.lower()}": image},
        output=output,
        texts={"inputs.json": json.dumps([entry])},
    )
