"""In which precision an operation computes, whatever the precision that surrounds it."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def no_autocast(device_type: str) -> AbstractContextManager[object]:
    """A context without autocast on `device_type`; no-op on meta, which has none."""
    # torch 2.8's compiler does not follow torch.amp.is_autocast_available.
    return nullcontext() if device_type == "meta" else torch.autocast(device_type, enabled=False)


def backward_without_autocast() -> None:
    """Let backward passes of compiled graphs run without autocast, as those of eager PyTorch do.

    torch.compile traces them under the autocast of the forward pass, so that what is protected from half precision in
    the forward pass is computed in it in the backward pass.
    """
    config = torch._functorch.config
    if hasattr(config, "backward_pass_autocast"):  # torch of 2025 and later; before, there is no such choice
        config.backward_pass_autocast = "off"


def compute_dtype(*tensors: Tensor | None) -> torch.dtype:
    """float64 if any of the tensors is, else float32: half precision is never computed in."""
    if any(tensor is not None and tensor.dtype == torch.float64 for tensor in tensors):
        return torch.float64
    return torch.float32
