"""What `nnunet-ext plan` is given, checked before anything is planned."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunet_ext.planning.networks import NETWORKS

FINGERPRINT = (
    *("spacings", "shapes_after_crop", "median_relative_size_after_cropping"),
    "foreground_intensity_properties_per_channel",
)
"""What nnU-Net's planner reads of a fingerprint."""
DESCRIPTION = {("channel_names", "modality"): dict, ("labels",): dict, ("file_ending",): str}
"""What it reads of a dataset.json: entries by their names, the older one last, and their kinds."""


def check(dataset: str, networks: Sequence[str], gpu_memory: float, processes: int) -> str:
    """The dataset's name.

    Raises:
        ValueError: in one sentence, what is wrong and what to do.
    """
    for name in networks:
        if name not in NETWORKS:
            raise ValueError(f"there is no network {name!r}: use one of {', '.join(NETWORKS)}")
    if not 0 < gpu_memory < math.inf:
        raise ValueError(f"--gpu-memory is {gpu_memory:g}, expected GiB of a GPU, as 24")
    if processes < 1:
        raise ValueError(f"-np is {processes}, expected at least one process")
    for variable in ("nnUNet_raw", "nnUNet_preprocessed"):
        value = os.environ.get(variable)
        if not value or not Path(value).is_dir():
            raise ValueError(f"{variable} is {value or 'not set'}, expected an existing folder: export {variable}=...")
    name = _name(dataset)
    _check_description(Path(os.environ["nnUNet_raw"], name))
    folder = Path(os.environ["nnUNet_preprocessed"], name)
    fingerprint = folder / "dataset_fingerprint.json"
    how = f"nnUNetv2_extract_fingerprint -d {int(name[7:10])}"
    if not fingerprint.is_file():
        raise ValueError(f"{name} has no fingerprint ({fingerprint}): make it with {how}")
    found = _object(fingerprint)
    if any(not found.get(key) for key in FINGERPRINT):
        raise ValueError(f"{fingerprint} is no fingerprint of nnU-Net's: make it anew with {how} --clean")
    return name


def _check_description(folder: Path) -> None:
    """Whether nnU-Net's planner can read dataset.json and finds cases."""
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    file = folder / "dataset.json"
    description = _object(file)
    lacking = [
        " or ".join(keys)
        for keys, kind in DESCRIPTION.items()
        if not any(isinstance(description.get(key), kind) for key in keys)
    ]
    if lacking:
        raise ValueError(f"{file} lacks {', '.join(lacking)}: see nnU-Net's dataset format")
    try:
        LabelManager(description["labels"], description.get("regions_class_order"))
    except Exception as error:  # nnU-Net asserts, and compares whatever stands there
        why = " ".join(str(error).split())
        raise ValueError(f"{file} has labels that nnU-Net refuses ({why}): see its dataset format") from error
    if "dataset" not in description and not list(folder.glob(f"imagesTr/*{description['file_ending']}")):
        raise ValueError(f"{folder / 'imagesTr'} holds no image that ends with {description['file_ending']}")


def _object(file: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one for anything else."""
    try:
        found = json.loads(file.read_text())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _name(dataset: str) -> str:
    raw = Path(os.environ["nnUNet_raw"])
    wanted = f"Dataset{int(dataset):03d}_" if dataset.isdigit() else dataset
    found = sorted(f.name for f in raw.glob("Dataset???_*") if f.name == wanted or f.name.startswith(wanted))
    found = [name for name in found if dataset.isdigit() or name == dataset]
    if len(found) != 1:
        what = "no dataset" if not found else f"more than one dataset ({', '.join(found)})"
        raise ValueError(f"{raw} has {what} for -d {dataset}: give the id or the name of a folder there")
    if not (raw / found[0] / "dataset.json").is_file():
        raise ValueError(f"{raw / found[0]} has no dataset.json, which nnU-Net needs: see its dataset format")
    return found[0]
