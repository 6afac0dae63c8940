"""What computes a scan: our backends (mamba-ssm's kernel is one of them), and other people's code where installed."""

import functools
import importlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunet_ext.ops import available_backends, selective_scan
from nnunet_ext.ops.loading import why_not_loaded

Scan = Callable[..., Tensor]
_MAMBA_SSM = "mamba_ssm.ops.selective_scan_interface"
# Loops over time, one step after the other, with a graph of all of them.
MAMBA_SSM_LOOP = "mamba_ssm loop"
SLOW = ("naive", MAMBA_SSM_LOOP)
LONGEST_SLOW = 4096


def scans(device: torch.device) -> dict[str, Scan]:
    """By name; each takes the arguments of `selective_scan`, with delta through a softplus."""
    found: dict[str, Scan] = {
        name: functools.partial(selective_scan, delta_softplus=True, backend=name)
        for name in available_backends(device)
    }
    if why_not_loaded(_MAMBA_SSM, "mamba-ssm") is None:
        reference = importlib.import_module(_MAMBA_SSM).selective_scan_ref
        found[MAMBA_SSM_LOOP] = functools.partial(reference, delta_softplus=True)
    if why_not_loaded("mambapy.pscan", "mambapy") is None:
        found["mambapy pscan"] = _mambapy
    return found


def _mambapy(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, delta_bias: Tensor
) -> Tensor:
    """The parallel scan of mambapy, with the operations that its Mamba block does around it."""
    from mambapy.pscan import pscan

    u, delta, B, C, z = (x.float().transpose(1, 2) for x in (u, delta, B, C, z))  # (B, L, D or N)
    delta = F.softplus(delta + delta_bias)  # (B, L, D)
    decay = torch.exp(delta.unsqueeze(-1) * A)  # (B, L, D, N)
    drive = (delta * u).unsqueeze(-1) * B.unsqueeze(2)  # (B, L, D, N)
    s = (pscan(decay, drive) @ C.unsqueeze(-1)).squeeze(-1) + D * u  # (B, L, D)
    return (s * F.silu(z)).transpose(1, 2)
