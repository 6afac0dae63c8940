"""Weights that others released, under the names of our networks."""

import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor

Source = Literal["lkm_unet"]
StateDict = dict[str, Tensor]


def convert_state_dict(state_dict: Mapping[str, Any], source: Source) -> StateDict:
    """Rename the parameters of a released network to ours; load the result with `load_state_dict`.

    Args:
        state_dict: a state dict, or a whole checkpoint of nnU-Net (its `network_weights` are taken) or of a plain
            training script (`state_dict`, `model`). Prefixes of wrappers (`module.`, `_orig_mod.`) and names that
            hold a parameter a second time are dropped.
        source: "lkm_unet", the authors' LKM-UNet.

    Returns:
        The renamed state dict; tensors are not copied.

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
        elif ours:
            placed[ours] = tensor
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


def _lkm_unet(name: str) -> str | None:
    """Our name; "" for a parameter's second name; None for what is not LKM-UNet's."""
    if name.startswith("decoder.encoder.") or ".all_modules." in name:
        return ""
    layer = re.fullmatch(r"encoder\.(w_)?mamba_layers\.(\d+)\.((?:norm|mamba_forw|mamba_backw|out_proj)\..+)", name)
    if layer:
        # PiM stands first in a stage's mixer, PaM ("w_", window) second.
        return f"encoder.mixers.{layer[2]}.{1 if layer[1] else 0}.mamba.{layer[3]}"
    if re.fullmatch(rf"encoder\.stem\.convs\.0\.{_CONV}", name):
        return name.replace("stem.convs.0.", "stem.")
    stage = rf"stages\.\d+\.blocks\.\d+\.(conv1|conv2|skip\.\d)\.{_CONV}"
    up = r"(transpconvs|seg_layers)\.\d+\.(weight|bias)"
    return name if re.fullmatch(rf"encoder\.{stage}|decoder\.({stage}|{up})", name) else None


_RENAME: dict[str, Callable[[str], str | None]] = {"lkm_unet": _lkm_unet}
