"""The CUDA kernel of the mamba-ssm package, where it is installed and works.

It is called through its extension module alone: `import mamba_ssm` needs transformers and triton, and succeeds without
the kernel. The kernel has no reverse and returns the dtype of its input, so sequences are flipped and upcast here.
"""

import functools
import importlib
from types import ModuleType

import torch
from torch import Tensor

from nnunet_ext.ops.loading import why_not_loaded
from nnunet_ext.ops.selective_scan.backend import ScanBackend, ScanGradients, ScanInputs
from nnunet_ext.ops.trial import on_real_tensors

MODULE = "selective_scan_cuda"
CHUNK = 2048
"""The kernel keeps the state once per so many steps."""


@functools.cache
@on_real_tensors()
def _why_it_does_not_run() -> str | None:
    """Why the kernel fails on a small scan (it may be built for other GPUs than this one); None if it runs."""
    x = torch.ones(1, 3, 2, device="cuda").transpose(1, 2)  # (B, D or N, L), in memory as our blocks have it
    inputs = ScanInputs(x, x, -torch.ones(2, 2, device="cuda"), x, x, None, None, None, False, True)
    backend = MambaSsmBackend()
    try:
        y, state = backend.forward(inputs, save=True)
        assert state is not None
        backend.backward(inputs, state, y)
        torch.cuda.synchronize()
    except torch.OutOfMemoryError:  # says nothing of the kernel
        raise
    except Exception as error:  # a kernel for other GPUs raises RuntimeError, one with other arguments TypeError
        return f"mamba-ssm's kernel does not run on this GPU: {type(error).__name__}: {error}"
    return None


class MambaSsmBackend(ScanBackend):
    """mamba-ssm's kernel: CUDA, float32."""

    name = "mamba_ssm"
    float64 = False

    def problem(self, device_type: str | None) -> str | None:
        """Not a CUDA device, or the kernel does not load."""
        if device_type not in (None, "cuda"):
            return f"it needs a CUDA device, not {device_type}"
        if device_type is None and not torch.cuda.is_available():
            return "it needs a CUDA device, and torch sees none"
        reason = why_not_loaded(MODULE, MODULE)
        if reason is not None:
            return f"mamba-ssm's module {reason}"
        return _why_it_does_not_run() if torch.cuda.is_available() else None

    def state_shape(self, inputs: ScanInputs) -> tuple[int, ...]:
        """One flat buffer: the kernel's states (B, D, chunks, 2N), and with a gate the output before it (B, D, L)."""
        batch, channels, states, length = inputs.sizes()
        chunks = -(-length // CHUNK)
        return (batch * channels * (chunks * 2 * states + (0 if inputs.z is None else length)),)

    def forward(self, inputs: ScanInputs, save: bool) -> tuple[Tensor, Tensor | None]:
        """See `ScanBackend.forward`."""
        out, states, *gated = _kernel().fwd(*_arguments(inputs), inputs.delta_softplus)
        y = gated[0] if gated else out
        state = torch.cat([states.flatten(), out.flatten()] if gated else [states.flatten()]) if save else None
        return _in_time_order(y, inputs.reverse), state

    def backward(self, inputs: ScanInputs, state: Tensor, dy: Tensor) -> ScanGradients:
        """See `ScanBackend.backward`."""
        batch, channels, states, length = inputs.sizes()
        shape = (batch, channels, -(-length // CHUNK), 2 * states)
        split = shape[0] * shape[1] * shape[2] * shape[3]
        out = None if inputs.z is None else state[split:].view(batch, channels, length)
        dy = _in_time_order(dy.float(), inputs.reverse)
        recompute_gated = False
        du, ddelta, dA, dB, dC, dD, dbias, *dz = _kernel().bwd(
            *_arguments(inputs), dy, state[:split].view(shape), out, None, inputs.delta_softplus, recompute_gated
        )
        return ScanGradients(
            u=_in_time_order(du, inputs.reverse),
            delta=_in_time_order(ddelta, inputs.reverse),
            A=dA,
            B=_in_time_order(dB.squeeze(1), inputs.reverse),
            C=_in_time_order(dC.squeeze(1), inputs.reverse),
            D=None if inputs.D is None else dD,
            z=None if inputs.z is None else _in_time_order(dz[0], inputs.reverse),
            delta_bias=None if inputs.delta_bias is None else dbias,
        )


def _kernel() -> ModuleType:
    return importlib.import_module(MODULE)


def _arguments(inputs: ScanInputs) -> tuple[Tensor | None, ...]:
    """u, delta, A, B, C, D, z, delta_bias as the kernel takes them: float32, rows in scan order; B, C (B, 1, N, L)."""
    u, delta, A, B, C, D, z, delta_bias, _, reverse = inputs.upcast()
    return (
        _in_time_order(u, reverse),
        _in_time_order(delta, reverse),
        A.contiguous(),
        _in_time_order(B, reverse).unsqueeze(1),
        _in_time_order(C, reverse).unsqueeze(1),
        None if D is None else D.contiguous(),
        None if z is None else _in_time_order(z, reverse),
        None if delta_bias is None else delta_bias.contiguous(),
    )


def _in_time_order(x: Tensor, reverse: bool) -> Tensor:
    """The sequence (..., L) in the order of the scan, or back; contiguous."""
    return (x.flip(-1) if reverse else x).contiguous()  # flip keeps the order of the axes in memory
