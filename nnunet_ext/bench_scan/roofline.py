"""The least time that a scan can take on a device: for the bytes it must move, or the exponentials it must compute."""

import subprocess

import torch

from nnunet_ext.bench_scan.cases import Case
from nnunet_ext.bench_scan.resources import seconds

CHECKPOINT_EVERY = 64
EXPONENTIALS_PER_CLOCK = 16  # of one multiprocessor's special function units, on all GPUs since Volta


def floor_seconds(
    case: Case, dtype: torch.dtype, backward: bool, bandwidth: float, exponentials: float | None
) -> float:
    """The larger of both times; a backward pass counts together with its forward pass.

    Per element, with a gate: forward 4 values, B and C shared by the channels, and the checkpoints; N + 4
    exponentials, divisions among them. Backward 7 values, and B, C, dB and dC; each decay twice more.
    """
    width, states = dtype.itemsize, case.states
    shared = 2 * states * width / case.channels
    size = 4 * width + shared + 4 * states / CHECKPOINT_EVERY
    count = states + 4.0
    if backward:
        size += 7 * width + 2 * shared + 4 * states / CHECKPOINT_EVERY
        count += 2 * states + 5
    moving = case.elements * size / bandwidth
    return moving if exponentials is None else max(moving, case.elements * count / exponentials)


def bandwidth(device: torch.device) -> float:
    """Bytes per second that a copy reads and writes, the best of five."""
    x = torch.ones(2**28 if device.type == "cuda" else 2**24, device=device)
    y = torch.empty_like(x)
    return 2 * x.nbytes / min(seconds(lambda: y.copy_(x), device) for _ in range(5))


def exponentials(device: torch.device) -> float | None:
    """Exponentials per second at the highest clock; None where they are not computed by units of their own."""
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    # By its identity: nvidia-smi's numbers know nothing of CUDA_VISIBLE_DEVICES.
    query = ("nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits", f"--id=GPU-{properties.uuid}")
    try:
        megahertz = float(subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return properties.multi_processor_count * EXPONENTIALS_PER_CLOCK * megahertz * 1e6
