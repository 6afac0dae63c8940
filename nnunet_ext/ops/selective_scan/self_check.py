"""Whether a backend computes on this device what the naive scan computes: asked once before it is trusted.

For backends whose code is compiled on the user's machine, for a GPU and by a compiler that no test has seen.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nnunet_ext.ops.precision import no_autocast
from nnunet_ext.ops.selective_scan.backend import ScanBackend, ScanInputs
from nnunet_ext.ops.selective_scan.naive import naive_scan
from nnunet_ext.ops.trial import on_real_tensors

STATES = 16
SIZES = ((1100, 4, 70), (1, 40, 150))
"""Batch, channels and length: many short sequences, and a long one of more channels than one program takes."""

TOLERANCE = 1e-3
"""Largest error relative to the naive scan in float64; right results are a hundred times closer."""


@on_real_tensors()
def check(backend: ScanBackend, device: str, sizes: Sequence[tuple[int, int, int]] = SIZES) -> str | None:
    """Scan in both directions on `device`, with all gradients; returns what is wrong, None if all is right.

    Args:
        backend: one that computes pairs.
        device: type of the device where it computes.
        sizes: batch, channels and length of the scans.
    """
    # Also asked for in inference, under autocast, and while a graph is being recorded.
    with torch.inference_mode(False), torch.enable_grad(), no_autocast(device), no_autocast("cpu"):
        for batch, channels, length in sizes:
            inputs, dy = _inputs(batch, channels, length)
            expected = _expected(inputs, dy)
            given = inputs.map(lambda tensor: tensor.detach().to(device, torch.float32))
            y, state = backend.forward(given, save=True)
            assert state is not None
            found = (y, *backend.backward(given, state, dy.to(device, torch.float32)))
            for name, right, value in zip(("y", *ScanInputs._fields[:8]), expected, found, strict=True):
                assert value is not None
                error = float((value.cpu().double() - right).norm() / right.norm())
                if not error <= TOLERANCE:
                    what = name if name == "y" else f"the gradient of {name}"
                    shape = (2, batch, channels, length)
                    return f"{what} of shape {shape} differs from the naive scan by {error:.1e} (relative)"
    return None


def _inputs(batch: int, channels: int, length: int) -> tuple[ScanInputs, Tensor]:
    """A pair of scans in float64 on the CPU, and the gradient of their output; not from the global random state."""
    random = torch.Generator("cpu").manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(2, *shape, generator=random, dtype=torch.float64, device="cpu")

    inputs = ScanInputs(
        u=normal(batch, channels, length),
        delta=0.5 * normal(batch, channels, length),
        A=-torch.arange(1.0, STATES + 1, dtype=torch.float64, device="cpu").repeat(2, channels, 1),
        B=normal(batch, STATES, length),
        C=normal(batch, STATES, length),
        D=normal(channels),
        z=normal(batch, channels, length),
        delta_bias=normal(channels) - 4,
        delta_softplus=True,
        reverse=False,
    )
    return inputs.map(lambda tensor: tensor.requires_grad_()), normal(batch, channels, length)


def _expected(inputs: ScanInputs, dy: Tensor) -> tuple[Tensor, ...]:
    """The output and the gradients of the naive scan."""
    y = torch.stack([naive_scan(scan) for scan in inputs.scans()])
    tensors = [tensor for tensor in inputs.tensors() if tensor is not None]
    return y.detach(), *torch.autograd.grad(y, tensors, dy)
