"""Time, memory and error of one scan."""

import statistics
import time
from typing import NamedTuple

import torch
from torch import Tensor

from nnunet_ext.bench_scan.rivals import Scan
from nnunet_ext.bench_scan.roofline import synchronize
from nnunet_ext.ops import selective_scan
from nnunet_ext.ops.selective_scan.backend import SEQUENCES

SEQUENCES_CHECKED = 2


class Measurement(NamedTuple):
    """Of one way to compute one scan."""

    forward_seconds: float
    """Median, in inference."""
    training_seconds: float
    """Median, forward and backward."""
    peak_bytes: int | None
    """What a training step allocates besides its inputs; None where the device does not count."""
    error: float
    """The largest of y's and its gradients' errors against float64, norm over norm."""


def measure(scan: Scan, inputs: dict[str, Tensor], exact: list[Tensor], repetitions: int) -> Measurement:
    """Measure after one run that compiles and warms up, and is compared with the `reference`."""
    device = inputs["u"].device
    y, gradients = _train(scan, inputs)
    error = _error(inputs, y, gradients, exact)
    del y, gradients
    before = _allocated(device)
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(repetitions):
        for training, seconds in times.items():
            synchronize(device)
            start = time.perf_counter()
            if training:
                _train(scan, inputs)
            else:
                with torch.no_grad():
                    scan(**inputs)
            synchronize(device)
            seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated(device) - before if device.type == "cuda" else None
    return Measurement(statistics.median(times[False]), statistics.median(times[True]), peak, error)


def _allocated(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _train(scan: Scan, inputs: dict[str, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
    y = scan(**inputs)
    return y.detach(), torch.autograd.grad(y, list(inputs.values()), torch.ones_like(y))


def reference(inputs: dict[str, Tensor]) -> list[Tensor]:
    """In float64, of the first sequences alone, which are independent of the others: y and the sequences' gradients.

    By the torch backend, which takes a fraction of the oracle's time and agrees with it to 1e-12; on the CPU, as not
    all devices have float64.
    """
    few = {
        name: (x[:SEQUENCES_CHECKED] if name in SEQUENCES else x).detach().cpu().double().requires_grad_()
        for name, x in inputs.items()
    }
    y = selective_scan(**few, delta_softplus=True, backend="torch")  # type: ignore[arg-type]  # all of them tensors
    return [y.detach(), *torch.autograd.grad(y, [few[name] for name in SEQUENCES], torch.ones_like(y))]


def _error(inputs: dict[str, Tensor], y: Tensor, gradients: tuple[Tensor, ...], exact: list[Tensor]) -> float:
    by_name = dict(zip(inputs, gradients, strict=True))
    values = [y, *(by_name[name] for name in SEQUENCES)]
    return max(
        float((value[:SEQUENCES_CHECKED].cpu().double() - other).norm() / other.norm().clamp_min(1e-30))
        for value, other in zip(values, exact, strict=True)
    )
