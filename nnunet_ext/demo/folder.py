"""A user's nnU-Net raw dataset, taken into the demo's own folder by links; the source is only read."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from nnunet_ext.demo.dataset import Dataset
from nnunet_ext.demo.errors import DemoError

FOLDS = 5
HOLD_OUT = 5
"""Without labelled test images every fifth training case becomes one."""

Case = tuple[list[Path], Path]
"""Image files, one per channel file, and the label file."""


def build(source: Path, raw: Path) -> Dataset:
    """Link the dataset in `source` into `raw`, with labelled test cases.

    Raises:
        DemoError: if `source` is no nnU-Net raw dataset or has too few cases for five folds.
    """
    description, training, test = read(source)
    if not test:
        training, test = hold_out(training)
    if len(training) < FOLDS:
        raise DemoError(
            f"{source} leaves {len(training)} labelled training cases; five-fold cross-validation needs {FOLDS} "
            f"besides the test cases."
        )
    folder = raw / name_of(source)
    for part, cases in (("Tr", training), ("Ts", test)):
        _link(cases, part, description["file_ending"], folder)
    # The files are at nnU-Net's usual places here, so a list of places elsewhere no longer holds.
    description.pop("dataset", None)
    description["numTraining"] = len(training)
    (folder / "dataset.json").write_text(json.dumps(description, indent=2) + "\n")
    return describe(source, raw)


def describe(source: Path, raw: Path) -> Dataset:
    """The dataset that `build` wrote into `raw`."""
    description, training, test = read(source)
    reference, licence = description.get("reference", "not stated"), description.get("licence", "not stated")
    if test:
        unseen = f"The {len(test)} labelled test cases of the dataset (imagesTs, labelsTs)."
    else:
        _, held_out = hold_out(training)
        unseen = (
            f"The dataset has no labelled test images, so every fifth of its {len(training)} training cases "
            f"({len(held_out)}) was held out and never trained on."
        )
    folder = raw / name_of(source)
    title = str(description.get("name") or folder.name[len("Dataset000_") :])
    return Dataset(folder, title, f"{reference}; licence: {licence}", unseen, folder / "labelsTs")


def read(source: Path) -> tuple[dict[str, Any], dict[str, Case], dict[str, Case]]:
    """dataset.json, the training cases and the labelled test cases, by case name; DemoError if that is not there."""
    from nnunetv2.utilities.utils import (
        create_lists_from_splitted_dataset_folder,
        get_filenames_of_train_images_and_targets,
    )

    if not source.is_dir():
        raise DemoError(f"{source} is not a folder; --data takes mni152, hippocampus or an nnU-Net raw dataset folder.")
    if not (source / "dataset.json").is_file():
        raise DemoError(f"{source} holds no dataset.json, so it is not an nnU-Net raw dataset.")
    try:
        description: dict[str, Any] = json.loads((source / "dataset.json").read_text())
        missing = [key for key in ("channel_names", "labels", "file_ending") if key not in description]
    except (ValueError, TypeError) as error:
        raise DemoError(f"{source / 'dataset.json'} is not readable as JSON: {error}.") from error
    if missing:
        raise DemoError(f"{source / 'dataset.json'} lacks {', '.join(missing)}.")
    if "dataset" not in description:
        for part in ("imagesTr", "labelsTr"):
            if not (source / part).is_dir():
                raise DemoError(f"{source} holds no folder {part}, so it is not an nnU-Net raw dataset.")

    ending = description["file_ending"]
    found = get_filenames_of_train_images_and_targets(str(source), json.loads(json.dumps(description)))
    training = {
        name: ([Path(image) for image in files["images"]], Path(files["label"])) for name, files in found.items()
    }
    test: dict[str, Case] = {}
    if (source / "imagesTs").is_dir() and (source / "labelsTs").is_dir():
        labels = sorted(path.name for path in (source / "labelsTs").iterdir())
        names = [label.removesuffix(ending) for label in labels if label.endswith(ending)]
        images = create_lists_from_splitted_dataset_folder(str(source / "imagesTs"), ending, names)
        test = {
            name: ([Path(image) for image in files], source / "labelsTs" / f"{name}{ending}")
            for name, files in zip(names, images, strict=True)
            if files
        }
    for name, (files, label) in (training | test).items():
        if not files or not label.is_file():
            raise DemoError(f"Case {name} of {source} has no {'label map' if files else 'image'}.")
    return description, training, test


def hold_out(training: dict[str, Case]) -> tuple[dict[str, Case], dict[str, Case]]:
    """The training cases without every fifth, and those."""
    held_out = sorted(training)[HOLD_OUT - 1 :: HOLD_OUT]
    return (
        {name: case for name, case in training.items() if name not in held_out},
        {name: training[name] for name in held_out},
    )


def name_of(source: Path) -> str:
    """The dataset's own nnU-Net name, or one made from the folder's name."""
    name = source.resolve().name
    if re.fullmatch(r"Dataset\d{3}_\w+", name):
        return name
    return "Dataset002_" + (re.sub(r"\W+", "", name) or "Data")


def fingerprint(source: Path) -> list[tuple[str, int, int]]:
    """Relative path, size in bytes and modification time (ns) of every file: changes when the dataset does."""
    files = sorted(path for path in source.rglob("*") if path.is_file())
    return [(str(path.relative_to(source)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def _link(cases: dict[str, Case], part: str, ending: str, folder: Path) -> None:
    for kind in ("images", "labels"):
        (folder / f"{kind}{part}").mkdir(parents=True, exist_ok=True)
    for name, (images, label) in cases.items():
        for channel, image in enumerate(images):
            _link_file(image, folder / f"images{part}" / f"{name}_{channel:04d}{ending}")
        _link_file(label, folder / f"labels{part}" / f"{name}{ending}")
        # TIFF keeps its spacing in a JSON file beside image and label map.
        for kind, file in (("images", images[0]), ("labels", label)):
            spacing = file.parent / f"{name}.json"
            if spacing.is_file():
                _link_file(spacing, folder / f"{kind}{part}" / spacing.name)


def _link_file(source: Path, target: Path) -> None:
    try:
        os.symlink(source.resolve(), target)
    except OSError:  # no links on this file system, or not allowed (Windows)
        shutil.copyfile(source, target)
