"""Time, memory and error of scans."""

import statistics
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nnunet_ext.bench_scan.resources import PeakMemory, seconds
from nnunet_ext.bench_scan.rivals import Scan
from nnunet_ext.doctor.check import sentence
from nnunet_ext.ops import selective_scan
from nnunet_ext.ops.selective_scan.backend import SEQUENCES

# Of u, which float64 on a CPU scans within a few seconds.
ELEMENTS_CHECKED = 2**22
FEWEST_CHECKED = 2

Result = dict[str, Any]


def measure(scans: Mapping[str, Scan], inputs: dict[str, Tensor], repetitions: int) -> dict[str, Result]:
    """Measure every scan.

    Of each, by name:

    - forward_seconds: median, in inference;
    - training_seconds: median, forward and backward;
    - peak_bytes: what a training step takes besides its inputs, outputs and gradients included (see `PeakMemory`);
    - errors: of y and the gradients against float64, see `reference`;
    - error: the largest of them;

    or "skipped", the reason. After one run each that compiles and warms up, they are timed in turns, so that what else
    the machine does meets all of them.
    """
    exact = reference(inputs)
    device = inputs["u"].device
    results: dict[str, Result] = {}
    for name, scan in scans.items():
        try:
            results[name] = _first_runs(scan, inputs, exact)
        except Exception as error:  # a rival's kernel raises what it likes, and the others are measured all the same
            results[name] = {"skipped": reason(error)}
    running = [name for name, result in results.items() if "skipped" not in result]
    inference: dict[str, list[float]] = {name: [] for name in running}
    training: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(repetitions):
        for name in running:
            inference[name].append(seconds(partial(_infer, scans[name], inputs), device))
            training[name].append(seconds(partial(_train, scans[name], inputs), device))
    for name in running:
        results[name] |= {
            "forward_seconds": statistics.median(inference[name]),
            "training_seconds": statistics.median(training[name]),
        }
    return results


def reason(error: Exception) -> str:
    """Why something was not measured."""
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory"
    return sentence(error)


def reference(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The output y and the gradients in float64, of the first sequences, which are independent of the others.

    The parameters' gradients, to which all sequences add, only where these are all. By the torch backend, which takes
    a fraction of the oracle's time and agrees with it to 1e-12; on the CPU, as not all devices have float64.
    """
    batch, channels, length = inputs["u"].shape
    count = min(batch, max(FEWEST_CHECKED, ELEMENTS_CHECKED // (channels * length)))
    few = {
        name: (x[:count] if name in SEQUENCES else x).detach().cpu().double().requires_grad_()
        for name, x in inputs.items()
    }
    y, gradients = _train(lambda **given: selective_scan(**given, delta_softplus=True, backend="torch"), few)
    return {"y": y} | {name: x for name, x in gradients.items() if name in SEQUENCES or count == batch}


def _first_runs(scan: Scan, inputs: dict[str, Tensor], exact: dict[str, Tensor]) -> Result:
    """Errors and memory."""
    _infer(scan, inputs)
    y, gradients = _train(scan, inputs)
    found = {"y": y} | gradients
    errors = {name: _error(found[name], value) for name, value in exact.items()}
    del y, gradients, found
    with PeakMemory(inputs["u"].device) as memory:
        _train(scan, inputs)
    return {"peak_bytes": memory.bytes, "error": max(errors.values()), "errors": errors}


def _infer(scan: Scan, inputs: dict[str, Tensor]) -> None:
    with torch.no_grad():
        scan(**inputs)


def _train(scan: Scan, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """y, and the gradients of the sum of y by name."""
    y = scan(**inputs)
    gradients = torch.autograd.grad(y, list(inputs.values()), torch.ones_like(y))
    return y.detach(), dict(zip(inputs, gradients, strict=True))


def _error(value: Tensor, exact: Tensor) -> float:
    """The larger of two: norm of the difference over norm, largest difference over largest value."""
    exact_norm, exact_largest = exact.norm().clamp_min(1e-30), exact.abs().max().clamp_min(1e-30)
    difference = value[: len(exact)].cpu().double() - exact
    return float(torch.maximum(difference.norm() / exact_norm, difference.abs().max() / exact_largest))
