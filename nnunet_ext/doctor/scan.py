"""Which selective scan the Mamba networks use here, and why not another."""

import os
from collections.abc import Iterable

from nnunet_ext.doctor.check import Check, fail, ok, warn

VARIABLE = "NNUNET_EXT_SCAN_BACKEND"
SLOW = "naive"
FAST_ON_CUDA = ("triton", "mamba_ssm")


def checks() -> Iterable[Check]:
    """The variable, the backend in use and the reason for each one that is not usable."""
    from nnunet_ext.ops import backend_status

    device = _device()
    statuses = backend_status(device)
    usable = [status.name for status in statuses if status.usable]
    choice = os.environ.get(VARIABLE) or "auto"
    title = f"scan on {device}"
    if choice != "auto" and choice not in usable:
        reasons = [status.reason for status in statuses if status.name == choice]
        reason = f"cannot be used: {reasons[0]}" if reasons else "is no backend"
        yield fail(title, f"{VARIABLE}={choice} {reason}", f"unset {VARIABLE}, or use one of {', '.join(usable)}")
    elif SLOW in (choice, usable[0]):
        fix = f"unset {VARIABLE}" if choice == SLOW else "install numba (CPU) or triton (CUDA)"
        yield warn(title, f"{SLOW}, which is for testing and very slow", fix)
    elif device == "cuda" and (usable[0] if choice == "auto" else choice) not in FAST_ON_CUDA:
        reasons = [f"{status.name}: {status.reason}" for status in statuses if status.name in FAST_ON_CUDA]
        if choice == "auto":
            fix = "make Triton work; it needs a C compiler and Python's headers (gcc, python3-dev)"
        else:
            fix = f"unset {VARIABLE}"
        yield warn(title, f"{choice if choice != 'auto' else usable[0]}, slow on a GPU ({'; '.join(reasons)})", fix)
    else:
        active = usable[0] if choice == "auto" else choice
        others = [name for name in usable if name != active]
        yield ok(title, f"{active}" + (f"; {VARIABLE}={choice}" if choice != "auto" else "") + _also(others))
    for status in statuses:
        if not status.usable:
            yield ok(f"scan {status.name}", f"not used: {status.reason}")


def _also(names: list[str]) -> str:
    return f" (also usable: {', '.join(names)})" if names else ""


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
