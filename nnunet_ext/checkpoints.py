"""Weights that others released, under the names of our networks."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Source = Literal["lkm_unet", "mlla_unet", "mlla_imagenet"]
StateDict = dict[str, Tensor]


class DamagedFileError(ValueError):
    """A file is not what `torch.save` wrote, or no longer."""


class UnsafeFileError(DamagedFileError):
    """A file holds objects that could be code."""


def read_checkpoint(file: Path, *, weights_only: bool) -> Any:
    """What `torch.save` wrote to `file`, its tensors on the CPU.

    Args:
        file: the file.
        weights_only: read tensors, numbers (numpy's too, which nnU-Net logs) and plain values only; other objects
            could be code, so they need a trusted file.

    Raises:
        OSError: if the file cannot be opened.
        UnsafeFileError: if it holds other objects and `weights_only` is set.
        DamagedFileError: if it cannot be read.
    """
    try:
        is_zip = zipfile.is_zipfile(file)
        if is_zip:
            with zipfile.ZipFile(file) as archive:
                if broken := archive.testzip():
                    raise zipfile.BadZipFile(broken)
        with torch.serialization.safe_globals(_numpy_numbers()):
            return torch.load(file, map_location="cpu", weights_only=weights_only, mmap=is_zip)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        strange = re.search(r"GLOBAL (\S+)", str(error))
        if strange is None:
            raise DamagedFileError(f"{file} is damaged and cannot be read ({type(error).__name__})") from error
        raise UnsafeFileError(
            f"{file} was not read, as it holds {strange[1]}, neither a tensor nor a plain value, which could be code"
        ) from error
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to say
        raise DamagedFileError(f"{file} is damaged and cannot be read ({type(error).__name__})") from error


def _numpy_numbers() -> list[Any]:
    """What a pickled number of numpy is made of, under the names of numpy 1 and 2."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = {type(np.dtype(kind)) for kind in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"}
    return [*((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")), np.dtype, *kinds]


def convert_state_dict(state_dict: Mapping[str, Any], source: Source) -> StateDict:
    """Rename the parameters of a released network to ours; load the result with `load_state_dict`.

    Args:
        state_dict: a state dict, or a whole checkpoint of nnU-Net (its `network_weights` are taken) or of a plain
            training script (`state_dict`, `model`). Prefixes of wrappers (`module.`, `_orig_mod.`) and names that
            hold a parameter a second time are dropped.
        source: "lkm_unet", the authors' LKM-UNet; "mlla_unet", the authors' MLLA-UNet; "mlla_imagenet", MLLA's image
            classifier, for the encoder of MLLA-UNet and, as its authors do, for the decoder's blocks too.

    Returns:
        The renamed state dict; tensors are not copied. For "mlla_imagenet" it lacks what a classifier has not.

    Raises:
        ValueError: for an unknown source, or a state dict in which nothing belongs to that network.

    Warns:
        UserWarning: names the entries that could not be placed; they are left out.
    """
    if source not in _RENAME:
        raise ValueError(f"source is {source!r}, expected one of {', '.join(map(repr, _RENAME))}")
    rename = _RENAME[source]
    placed: StateDict = {}
    strange: list[str] = []
    for name, tensor in _weights(state_dict).items():
        name = re.sub(r"^((module|_orig_mod)\.)+", "", name)
        ours = rename(name) if isinstance(tensor, Tensor) else None
        if ours is None:
            strange.append(name)
        else:
            placed.update(dict.fromkeys(ours, tensor))
    if not placed:
        raise ValueError(
            f"none of the {len(strange)} entries belongs to {source} (the first: {strange[:1]}): "
            "give the state dict or checkpoint that its authors' code wrote"
        )
    if strange:
        warnings.warn(f"could not place {len(strange)} entries of {source}: {', '.join(strange)}", stacklevel=2)
    return placed


def _weights(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in ("network_weights", "state_dict", "model"):
        if isinstance(checkpoint.get(key), Mapping):
            return checkpoint[key]
    return checkpoint


_CONV = r"(conv|norm)\.(weight|bias)"


def _lkm_unet(name: str) -> tuple[str, ...] | None:
    """Our name; none for a parameter's second name; None for what is not LKM-UNet's."""
    if name.startswith("decoder.encoder.") or ".all_modules." in name:
        return ()
    layer = re.fullmatch(r"encoder\.(w_)?mamba_layers\.(\d+)\.((?:norm|mamba_forw|mamba_backw|out_proj)\..+)", name)
    if layer:
        # PiM stands first in a stage's mixer, PaM ("w_", window) second.
        return (f"encoder.mixers.{layer[2]}.{1 if layer[1] else 0}.mamba.{layer[3]}",)
    if re.fullmatch(rf"encoder\.stem\.convs\.0\.{_CONV}", name):
        return (name.replace("stem.convs.0.", "stem."),)
    stage = rf"stages\.\d+\.blocks\.\d+\.(conv1|conv2|skip\.\d)\.{_CONV}"
    up = r"(transpconvs|seg_layers)\.\d+\.(weight|bias)"
    return (name,) if re.fullmatch(rf"encoder\.{stage}|decoder\.({stage}|{up})", name) else None


# The authors' names of the parts of MLLA-UNet, and ours. In <> stands a level that counts one more there, as the first
# up-sampling is a level of its own.
_MLLA_ENCODER = (
    (r"patch_embed\.(.+)", r"encoder.stem.\1"),
    (r"layers\.(\d)\.blocks\.(.+)", r"encoder.levels.\1.\2"),
    (r"layers\.(\d)\.downsample\.(.+)", r"encoder.downs.\1.\2"),
    (r"norm\.(.+)", r"encoder.norm.\1"),
)
_MLLA_DECODER = (
    (r"layers_up\.0\.(.+)", r"decoder.ups.0.\1"),
    (r"layers_up\.([12])\.upsample\.(.+)", r"decoder.ups.\1.\2"),
    (r"layers_up\.([123])\.blocks\.(.+)", r"decoder.levels.<\1>.\2"),
    (r"concat_back_dim\.([123])\.(.+)", r"decoder.reduce.<\1>.\2"),
    (r"norm_up\.(.+)", r"decoder.norm.\1"),
    (r"up\.expand\.(.+)", r"decoder.expand.\1"),
    (r"up\.norm\.(.+)", r"decoder.expand_norm.\1"),
    (r"output\.(.+)", r"decoder.seg_layers.output.\1"),
)
_MLLA_SAMPLING = (
    (r"\.conv\.0\.", ".expand."),
    (r"\.conv\.1\.(conv\.)?", ".sample."),
    (r"\.conv\.2\.", ".reduce."),
)


def _mlla_unet(name: str) -> tuple[str, ...] | None:
    """Our name; none for tables of positions, which ours computes; None for what is not MLLA-UNet's."""
    name = name.removeprefix("mlla_unet.")
    if name.endswith(".rope.rotations"):
        return ()
    for theirs, ours in (*_MLLA_ENCODER, *_MLLA_DECODER):
        match = re.fullmatch(theirs, name)
        if match is None:
            continue
        renamed = match.expand(ours)
        if ".ups." in renamed or ".downs." in renamed:
            for part, our_part in _MLLA_SAMPLING:
                renamed = re.sub(part, our_part, renamed)
        return (re.sub(r"<(\d)>", lambda level: str(int(level[1]) - 1), renamed),)
    return None


def _mlla_imagenet(name: str) -> tuple[str, ...] | None:
    """Our name in the encoder, and in the decoder for the first two blocks of its levels."""
    if name.startswith("head."):
        return ()
    if not name.startswith(("patch_embed.", "layers.", "norm.")):
        return None
    ours = _mlla_unet(name)
    block = re.fullmatch(r"encoder\.levels\.([012])\.([01])\.(.+)", ours[0]) if ours else None
    if ours and block:
        return (*ours, f"decoder.levels.{2 - int(block[1])}.{block[2]}.{block[3]}")
    return ours


_RENAME: dict[str, Callable[[str], tuple[str, ...] | None]] = {
    "lkm_unet": _lkm_unet,
    "mlla_unet": _mlla_unet,
    "mlla_imagenet": _mlla_imagenet,
}
