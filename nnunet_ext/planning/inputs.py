"""What `nnunet-ext plan` is given, checked before anything is planned."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from nnunet_ext.planning.networks import NETWORKS


def check(dataset: str, networks: Sequence[str], gpu_memory: float, processes: int) -> str:
    """The dataset's name.

    Raises:
        ValueError: in one sentence, what is wrong and what to do.
    """
    for name in networks:
        if name not in NETWORKS:
            raise ValueError(f"there is no network {name!r}: use one of {', '.join(NETWORKS)}")
    if not gpu_memory > 0:
        raise ValueError(f"--gpu-memory is {gpu_memory:g}, expected GiB of a GPU, as 24")
    if processes < 1:
        raise ValueError(f"-np is {processes}, expected at least one process")
    for variable in ("nnUNet_raw", "nnUNet_preprocessed"):
        value = os.environ.get(variable)
        if not value or not Path(value).is_dir():
            raise ValueError(f"{variable} is {value or 'not set'}, expected an existing folder: export {variable}=...")
    name = _name(dataset)
    folder = Path(os.environ["nnUNet_preprocessed"], name)
    fingerprint = folder / "dataset_fingerprint.json"
    how = f"nnUNetv2_extract_fingerprint -d {int(name[7:10])}"
    if not fingerprint.is_file():
        raise ValueError(f"{name} has no fingerprint ({fingerprint}): make it with {how}")
    try:
        found = json.loads(fingerprint.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict) or not found.get("spacings") or not found.get("shapes_after_crop"):
        raise ValueError(f"{fingerprint} is no fingerprint of nnU-Net's: make it anew with {how} --clean")
    return name


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
