"""Which selective scan the Mamba networks use here, and why not another."""

import os
from collections.abc import Iterable

from nnunet_ext.doctor.check import Check, fail, ok, warn

VARIABLE = "NNUNET_EXT_SCAN_BACKEND"
SLOW = "naive"


def checks() -> Iterable[Check]:
    """The variable, the backend in use and the reason for each one that is not usable."""
    from nnunet_ext.devices import find_device
    from nnunet_ext.ops import backend_status
    from nnunet_ext.ops.selective_scan.registry import why_slow

    device = find_device(None).type
    statuses = backend_status(device)
    usable = [status.name for status in statuses if status.usable]
    choice = os.environ.get(VARIABLE) or "auto"
    active = usable[0] if choice == "auto" else choice
    title = f"scan on {device}"
    if choice != "auto" and choice not in usable:
        reasons = [status.reason for status in statuses if status.name == choice]
        reason = f"cannot be used: {reasons[0]}" if reasons else "is no backend"
        yield fail(title, f"{VARIABLE}={choice} {reason}", f"unset {VARIABLE}, or use one of {', '.join(usable)}")
    elif active == SLOW:
        fix = f"unset {VARIABLE}" if choice == SLOW else "install numba (CPU) or triton (CUDA)"
        yield warn(title, f"{SLOW}, which is for testing and very slow", fix)
    elif slow := why_slow(active, device):
        fix = "make Triton work: it needs a C compiler and Python's headers (gcc, python3-dev)"
        yield warn(title, f"{active}, slow on a GPU ({slow})", fix if choice == "auto" else f"unset {VARIABLE}")
    else:
        others = [name for name in usable if name != active]
        yield ok(title, f"{active}" + (f"; {VARIABLE}={choice}" if choice != "auto" else "") + _also(others))
    for status in statuses:
        if not status.usable:
            yield ok(f"scan {status.name}", f"not used: {status.reason}")


def _also(names: list[str]) -> str:
    return f" (also usable: {', '.join(names)})" if names else ""
