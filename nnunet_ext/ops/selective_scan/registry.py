"""Which backends there are, which of them work here, and which one a scan uses."""

import os
from typing import NamedTuple

import torch

from nnunet_ext.ops.selective_scan import naive
from nnunet_ext.ops.selective_scan.backend import ScanBackend
from nnunet_ext.ops.selective_scan.lane import LaneBackend
from nnunet_ext.ops.selective_scan.mamba_ssm import MambaSsmBackend
from nnunet_ext.ops.selective_scan.numba_cpu import NumbaBackend
from nnunet_ext.ops.selective_scan.triton_cuda import TritonBackend

ENVIRONMENT_VARIABLE = "NNUNET_EXT_SCAN_BACKEND"

# Fastest first. A new backend is a file of its own and its name here.
_BACKENDS: tuple[ScanBackend, ...] = (TritonBackend(), MambaSsmBackend(), NumbaBackend(), LaneBackend())
_BY_NAME = {backend.name: backend for backend in _BACKENDS}
BACKEND_NAMES = (*_BY_NAME, naive.NAME)
FAST_ON_CUDA = (TritonBackend.name, MambaSsmBackend.name)


class BackendStatus(NamedTuple):
    """Whether a backend can be used, and if not, why."""

    name: str
    usable: bool
    reason: str
    """Empty when the backend is usable."""


def get_backend(name: str) -> ScanBackend:
    """The backend of that name, which must be one of the fast ones."""
    return _BY_NAME[name]


def computes_pairs(name: str) -> bool:
    """Whether that backend takes two scans at once."""
    return name in _BY_NAME and _BY_NAME[name].pairs


def backend_status(device: torch.device | str | None = None) -> list[BackendStatus]:
    """Every known backend, fastest first: whether it can be used on `device` (None: on any device of this machine)."""
    device_type = None if device is None else torch.device(device).type
    problems = {name: _problem(name, device_type, float64=False) for name in BACKEND_NAMES}
    return [BackendStatus(name, problem is None, problem or "") for name, problem in problems.items()]


def available_backends(device: torch.device | str | None = None) -> list[str]:
    """The names of the backends that can be used on `device` (None: on any device of this machine), fastest first."""
    return [status.name for status in backend_status(device) if status.usable]


def choose_backend(requested: str, device_type: str, float64: bool) -> str:
    """The name of the backend that computes a scan.

    Args:
        requested: a backend's name, or "auto": what NNUNET_EXT_SCAN_BACKEND says, else the fastest usable one.
        device_type: type of the device that the tensors are on.
        float64: whether the scan is in double precision.

    Raises:
        ValueError: the name is unknown.
        RuntimeError: the named backend cannot be used here; the message says why.
    """
    source = "backend"
    if requested == "auto":
        source = ENVIRONMENT_VARIABLE
        requested = os.environ.get(ENVIRONMENT_VARIABLE) or "auto"
    if requested == "auto":
        return next(name for name in BACKEND_NAMES if _problem(name, device_type, float64) is None)
    if requested not in BACKEND_NAMES:
        raise ValueError(
            f"{source}={requested!r} is no selective scan backend: use 'auto' (the fastest one that works here) or one "
            f"of {', '.join(BACKEND_NAMES)}."
        )
    problem = _problem(requested, device_type, float64)
    if problem is not None:
        raise RuntimeError(f"The selective scan backend {requested!r} ({source}) cannot be used here: {problem}.")
    return requested


def why_slow(name: str, device_type: str) -> str | None:
    """Why the fast kernels do not compute on a GPU, if the backend `name` is none of them; None if all is well."""
    if device_type != "cuda" or name in FAST_ON_CUDA:
        return None
    reasons = {fast: _problem(fast, device_type, float64=False) for fast in FAST_ON_CUDA}
    return "; ".join(f"{fast}: {reason or 'not chosen'}" for fast, reason in reasons.items())


# torch.compile takes the answer as a constant instead of tracing environment variables and imports. This is all that
# torch.compiler.assume_constant_result does after importing the whole compiler, which takes seconds.
choose_backend._dynamo_marked_constant = True  # type: ignore[attr-defined]  # a mark of torch's


def _problem(name: str, device_type: str | None, float64: bool) -> str | None:
    """Why the backend cannot be used; None if it can be."""
    if name == naive.NAME:
        return None
    backend = _BY_NAME[name]
    if float64 and not backend.float64:
        return "it computes in float32, and an input is float64"
    return backend.problem(device_type)
