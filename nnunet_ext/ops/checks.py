"""Checks of arguments that the operations share."""

from collections.abc import Mapping

import torch
from torch import Tensor

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_dtypes_and_devices(tensors: Mapping[str, Tensor | None]) -> None:
    """Raise ValueError unless all tensors, by their arguments' names, have a usable dtype and are on one device."""
    first = ""
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        first = first or name
        shape, other = tuple(tensor.shape), tensors[first]
        if tensor.dtype not in DTYPES:
            raise ValueError(
                f"{name} of shape {shape} has dtype {tensor.dtype}, expected float16, bfloat16, float32 or float64."
            )
        if other is not None and tensor.device != other.device:
            raise ValueError(
                f"{name} of shape {shape} is on {tensor.device}, expected {other.device}, where {first} is."
            )
