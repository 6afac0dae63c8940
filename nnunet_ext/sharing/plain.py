"""Files that hold nothing but weights, numbers and text: safe to load, and silent about the machine they come from."""

import io
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from nnunet_ext.checkpoints import DamagedFileError, read_checkpoint

Checkpoint = dict[str, Any]

CASES = ("dataset", "training", "test")
"""Entries of a dataset.json that list the author's files; prediction does not read them."""


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ValueError: if the file is absent or holds something else.
    """
    if not file.is_file():
        raise ValueError(f"{file} is missing: give a model folder as nnU-Net writes it")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON file ({error}): get it anew from where it was made") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__}, expected an object: give nnU-Net's own file")
    return content


def write_json(content: Mapping[str, Any], file: Path) -> None:
    """Write as nnU-Net does, without the folders of this machine."""
    file.write_text(json.dumps(without_folders(content), indent=4, ensure_ascii=False) + "\n", encoding="utf-8")


def without_folders(value: Any) -> Any:
    """`value`, in which every absolute path is only the last part of it."""
    if isinstance(value, Mapping):
        return {key: without_folders(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(entry) for entry in value]
    if isinstance(value, str):
        for path in (PurePosixPath(value), PureWindowsPath(value)):
            if path.is_absolute():
                return path.name
    return value


def read_nnunet_checkpoint(file: Path) -> Checkpoint:
    """A checkpoint that nnU-Net wrote, read without running anything that it holds.

    Raises:
        ValueError: if the file is absent, damaged, holds other objects than values, or is no checkpoint of nnU-Net.
    """
    if not file.is_file():
        raise ValueError(f"{file} is missing: give a checkpoint_*.pth that nnU-Net wrote")
    try:
        checkpoint = read_checkpoint(file, weights_only=True)
    except DamagedFileError as error:
        raise ValueError(f"{error}: get it anew from where it was trained") from error
    expected = {"network_weights": dict, "init_args": dict, "trainer_name": str}
    if not isinstance(checkpoint, dict) or not all(
        isinstance(checkpoint.get(key), kind) for key, kind in expected.items()
    ):
        raise ValueError(f"{file} is no checkpoint of nnU-Net, which has {', '.join(expected)}: give one of those")
    strange = [name for name, entry in checkpoint["network_weights"].items() if not isinstance(entry, Tensor)]
    if strange:
        raise ValueError(f"{file}: {strange[0]} is no tensor: only networks with nothing but tensors can be shared")
    return checkpoint


def write_weights(checkpoint: Checkpoint, file: Path) -> None:
    """Write what prediction reads of a checkpoint; `torch.load(weights_only=True)` opens it, and nnU-Net.

    Left out are the optimiser's state, the log, and the arguments of the training, in which plans and paths stand.
    """
    axes = checkpoint.get("inference_allowed_mirroring_axes")
    kept = {
        "network_weights": checkpoint["network_weights"],
        "trainer_name": checkpoint["trainer_name"],
        "init_args": {"configuration": checkpoint["init_args"]["configuration"]},
        "inference_allowed_mirroring_axes": None if axes is None else tuple(int(axis) for axis in axes),
    }
    # By way of memory: writing to a full disk, torch raises no OSError and names the file inside of the file.
    buffer = io.BytesIO()
    torch.save(kept, buffer)
    file.write_bytes(buffer.getbuffer())
