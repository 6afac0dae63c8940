"""The device that the user named, or the best that there is."""

from collections.abc import Callable

import torch


def find_device(name: torch.device | str | None) -> torch.device:
    """The device of that name, or the first of CUDA, MPS and CPU that there is.

    Raises:
        ValueError: it is absent, or the name means none of the three.
    """
    there: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    if name is None:
        return torch.device(next(kind for kind, is_available in there.items() if is_available()))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"there is no device {name!r}: use {', '.join(there)}, or one like cuda:1") from error
    if device.type not in there or not there[device.type]():
        raise ValueError(f"torch sees no {device} here: use cpu, or see nnunet-ext doctor")
    return device
