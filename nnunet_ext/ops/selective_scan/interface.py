"""The public function of the selective scan: checks its arguments and hands them to a backend."""

import torch
from torch import Tensor

from nnunet_ext.ops.checks import check_dtypes_and_devices
from nnunet_ext.ops.selective_scan import torch_ops  # noqa: F401  # registers the operators
from nnunet_ext.ops.selective_scan.backend import TENSORS, ScanInputs
from nnunet_ext.ops.selective_scan.naive import NAME as NAIVE
from nnunet_ext.ops.selective_scan.naive import naive_scan
from nnunet_ext.ops.selective_scan.registry import choose_backend, computes_pairs

MAX_STATES = 256


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    reverse: bool = False,
    backend: str = "auto",
) -> Tensor:
    """The selective scan of Mamba-1 (arXiv 2312.00752, equations 2a, 2b and 4, Algorithm 2).

    With dl = softplus(delta + delta_bias), for every sequence, channel and state:
    h_t = exp(dl_t A) h_(t-1) + dl_t B_t u_t and y_t = (sum over states of C_t h_t + D u_t) silu(z_t).

    All tensors may have one axis more in front, of length 2: a pair of scans, of which the second runs against the
    first. On CUDA both run at the same time.

    Args:
        u: (B, D, L), the input. float16, bfloat16, float32 or float64, as all tensors; dtypes may be mixed.
        delta: (B, D, L), step sizes.
        A: (D, N), N from 1 to 256; usually negative.
        B: (B, N, L).
        C: (B, N, L).
        D: (D), skip connection; none if not given.
        z: (B, D, L), gate; none if not given.
        delta_bias: (D), added to delta before the softplus.
        delta_softplus: whether delta goes through a softplus.
        reverse: scan from the last position to the first, which equals flipping every sequence before and after.
        backend: a name of `available_backends()`, or "auto": the environment variable NNUNET_EXT_SCAN_BACKEND, else
            the fastest backend that works on this device.

    Returns:
        (B, D, L), or (2, B, D, L) of a pair; float64 if any input is float64, else float32, autocast or not.
        Gradients have their inputs' dtypes.

    Raises:
        ValueError: a shape, dtype or device does not fit, or the backend's name is unknown.
        RuntimeError: the named backend cannot be used here.
    """
    inputs = ScanInputs(u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse)
    _check(inputs)
    name = choose_backend(backend, u.device.type, inputs.dtype() == torch.float64)
    if inputs.is_pair() and not computes_pairs(name):
        return torch.stack([_scan(scan, name) for scan in inputs.scans()])
    return _scan(inputs, name)


def _scan(inputs: ScanInputs, backend: str) -> Tensor:
    if backend == NAIVE:
        return naive_scan(inputs)
    # In inference nothing is kept for a backward pass.
    save = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in inputs.tensors())
    y, _ = torch.ops.nnunet_ext.scan_forward(*inputs, save, backend)
    return y


def _check(inputs: ScanInputs) -> None:
    """Raise ValueError if shapes, dtypes or devices do not fit together."""
    u, A = inputs.u, inputs.A
    if not (u.ndim == 3 or (u.ndim == 4 and u.shape[0] == 2)) or u.shape[-1] < 1:
        raise ValueError(f"u has shape {tuple(u.shape)}, expected (B, D, L), or (2, B, D, L), with L >= 1.")
    batch, channels, length = u.shape[-3:]
    front, axis = ("2, ", (2,)) if inputs.is_pair() else ("", ())
    if A.shape[:-1] != (*axis, channels) or not 1 <= A.shape[-1] <= MAX_STATES:
        wanted = f"({front}D, N) = ({front}{channels}, N) with N from 1 to {MAX_STATES}"
        raise ValueError(f"A has shape {tuple(A.shape)}, expected {wanted}.")
    states = A.shape[-1]
    expected = {
        "delta": ("B, D, L", (batch, channels, length)),
        "B": ("B, N, L", (batch, states, length)),
        "C": ("B, N, L", (batch, states, length)),
        "D": ("D", (channels,)),
        "z": ("B, D, L", (batch, channels, length)),
        "delta_bias": ("D", (channels,)),
    }
    for name, (symbols, shape) in expected.items():
        tensor = getattr(inputs, name)
        if tensor is not None and tensor.shape != (*axis, *shape):
            wanted = f"({front}{symbols}) = {(*axis, *shape)}"
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {wanted}.")
    check_dtypes_and_devices(dict(zip(TENSORS, inputs.tensors(), strict=True)))
