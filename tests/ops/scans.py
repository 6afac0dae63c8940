"""Inputs for scans, and one comparison that all backends pass."""

from collections.abc import Collection

import torch
from torch import Tensor

from nnunet_ext.ops import selective_scan

from ..reference import relative_error

Inputs = dict[str, Tensor]
OPTIONAL = ("D", "z", "delta_bias")


def make_inputs(
    batch: int = 2,
    channels: int = 5,
    states: int = 16,
    length: int = 65,
    *,
    large_decay: bool = False,
    without: Collection[str] = (),
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Inputs:
    """Arguments as a trained Mamba block makes them; with `large_decay`, steps so large that states are forgotten."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    dt = torch.exp(torch.empty(channels, dtype=torch.float64).uniform_(-6.9, -2.3, generator=random))
    inputs = {
        "u": normal(batch, channels, length),
        "delta": normal(batch, channels, length) * (3 if large_decay else 0.5),
        "A": -torch.arange(1.0, states + 1, dtype=torch.float64) * torch.exp(0.1 * normal(channels, states)),
        "B": normal(batch, states, length),
        "C": normal(batch, states, length),
        "D": normal(channels),
        "z": normal(batch, channels, length),
        "delta_bias": dt + torch.log(-torch.expm1(-dt)) + (5 if large_decay else 0),
    }
    return {name: tensor.to(dtype).requires_grad_() for name, tensor in inputs.items() if name not in without}


def run_scan(inputs: Inputs, backend: str, **options: bool) -> tuple[Tensor, Inputs]:
    """The output, and the gradient of each input for a fixed random cotangent."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in inputs.items()}
    y = selective_scan(**leaves, backend=backend, **{"delta_softplus": True, **options})
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)
    y.backward(cotangent)
    gradients = {}
    for name, leaf in leaves.items():
        assert leaf.grad is not None, name
        gradients[name] = leaf.grad
    return y.detach(), gradients


def assert_same_scan(
    inputs: Inputs, backend: str, tolerance: float, gradient_tolerance: float | None = None, **options: bool
) -> None:
    """Output and all gradients of the backend agree with the oracle in float64, relative to their norms."""
    y, gradients = run_scan(inputs, backend, **options)
    exact_y, exact = run_scan({name: tensor.double() for name, tensor in inputs.items()}, "naive", **options)
    assert relative_error(y, exact_y) <= tolerance
    for name, gradient in gradients.items():
        assert gradient.dtype == inputs[name].dtype
        assert gradient.isfinite().all(), name
        assert relative_error(gradient, exact[name]) <= (gradient_tolerance or tolerance), name
