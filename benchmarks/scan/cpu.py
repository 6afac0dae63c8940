"""CPU time of the selective scan's backends, relative to the fastest: `python benchmarks/scan/cpu.py` writes cpu.json.

CPU time (of all threads together) and ratios, as they depend less on the machine and its other work than seconds do.
"""

import json
import time
from pathlib import Path

import torch

from nnunet_ext.ops import available_backends, selective_scan

SHAPES = {"one long sequence": (2, 64, 16, 4096), "many windows": (256, 64, 16, 128)}  # B, D, N, L
REPETITIONS = 5


def make_inputs(batch: int, channels: int, states: int, length: int) -> dict[str, torch.Tensor]:
    """Inputs as a Mamba block makes them at the start of training."""
    inputs = {
        "u": torch.randn(batch, channels, length),
        "delta": 0.5 * torch.randn(batch, channels, length),
        "A": -torch.arange(1.0, states + 1).repeat(channels, 1),
        "B": torch.randn(batch, states, length),
        "C": torch.randn(batch, states, length),
        "D": torch.ones(channels),
        "z": torch.randn(batch, channels, length),
        "delta_bias": torch.full((channels,), -4.0),
    }
    return {name: tensor.requires_grad_() for name, tensor in inputs.items()}


def cpu_seconds(inputs: dict[str, torch.Tensor], backend: str, backward: bool) -> float:
    """CPU time of one scan, with its backward pass or in inference."""
    start = time.process_time()
    with torch.set_grad_enabled(backward):
        y = selective_scan(**inputs, delta_softplus=True, backend=backend)
        if backward:
            y.backward(torch.ones_like(y))
    return time.process_time() - start


def main() -> None:
    """Measure all backends in turns, and keep the least time of each."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    backends = available_backends("cpu")
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name, shape in SHAPES.items():
        inputs = make_inputs(*shape)
        results[f"{name}, (B, D, N, L) = {shape}"] = {}
        for backward in (False, True):
            times: dict[str, list[float]] = {backend: [] for backend in backends}
            for _ in range(REPETITIONS + 1):  # the first one compiles and warms up
                for backend in backends:
                    times[backend].append(cpu_seconds(inputs, backend, backward))
            best = {backend: min(seconds[1:]) for backend, seconds in times.items()}
            ratios = {backend: round(seconds / min(best.values()), 1) for backend, seconds in best.items()}
            results[f"{name}, (B, D, N, L) = {shape}"]["forward and backward" if backward else "forward"] = ratios
    Path(__file__).with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
