"""The CPU backend: `numba_kernels` in as many threads as torch uses.

The kernels run without the GIL, in the threads of `threads`. numba's threading layers are not used: its OpenMP layer
aborts in forked processes, its workqueue when two Python threads scan at once, and both compile several times longer.
"""

import itertools

import torch
from torch import Tensor

from nnunet_ext.ops.loading import why_not_loaded
from nnunet_ext.ops.selective_scan import threads
from nnunet_ext.ops.selective_scan.backend import ScanBackend, ScanGradients, ScanInputs


class NumbaBackend(ScanBackend):
    """numba: CPU, float32."""

    name = "numba"
    float64 = False
    channels_last = True

    def problem(self, device_type: str | None) -> str | None:
        """Not a CPU, or numba does not load."""
        if device_type not in (None, "cpu"):
            return f"it needs CPU tensors, not {device_type}"
        return why_not_loaded("nnunet_ext.ops.selective_scan.numba_kernels", "numba")

    def state_shape(self, inputs: ScanInputs) -> tuple[int, ...]:
        """(B, tiles, N, D): the state that enters each tile, counted in the order of the scan."""
        from nnunet_ext.ops.selective_scan.numba_kernels import TILE

        batch, channels, states, length = inputs.sizes()
        return batch, -(-length // TILE), states, channels

    def forward(self, inputs: ScanInputs, save: bool) -> tuple[Tensor, Tensor | None]:
        """See `ScanBackend.forward`."""
        from nnunet_ext.ops.selective_scan.numba_kernels import kernels

        kernel = kernels().forward
        batch, channels, _, length = inputs.sizes()
        y = torch.empty(batch, length, channels, dtype=torch.float32)
        state = torch.empty(self.state_shape(inputs) if save else (0, 0, 0, 0), dtype=torch.float32)
        arguments = [*_arguments(inputs), save, y.numpy(), state.numpy()]
        tasks = [tuple(ranges) for _, *ranges in _tasks(inputs)]
        threads.run(lambda task: kernel(*arguments, *task), tasks)
        return y.transpose(1, 2), state if save else None

    def backward(self, inputs: ScanInputs, state: Tensor, dy: Tensor) -> ScanGradients:
        """See `ScanBackend.backward`."""
        from nnunet_ext.ops.selective_scan.numba_kernels import kernels

        batch, channels, states, length = inputs.sizes()
        kernel = kernels().backward
        rows = (batch, length, channels)
        tasks = [(number, *task) for number, task in enumerate(_tasks(inputs))]
        parts = 1 + max(part for _, part, *_ in tasks)
        du, ddelta = (torch.empty(rows, dtype=torch.float32) for _ in range(2))
        dz = torch.empty(rows if inputs.z is not None else (0, 0, 0), dtype=torch.float32)
        # Tasks that share a sequence add to parts of their own: no locks, and the same sum every time.
        dB, dC = (torch.zeros(parts, batch, length, states, dtype=torch.float32) for _ in range(2))
        dA = torch.zeros(len(tasks), states, channels, dtype=torch.float64)
        dD, dbias = (torch.zeros(len(tasks), channels, dtype=torch.float64) for _ in range(2))
        outputs = [tensor.numpy() for tensor in (du, ddelta, dA, dB, dC, dD, dz, dbias)]
        arguments = [*_arguments(inputs), _array(state), _rows(dy), *outputs]
        threads.run(lambda task: kernel(*arguments, *task), tasks)
        return ScanGradients(
            u=du.transpose(1, 2),
            delta=ddelta.transpose(1, 2),
            A=dA.sum(0).t(),
            B=dB.sum(0).transpose(1, 2),
            C=dC.sum(0).transpose(1, 2),
            D=None if inputs.D is None else dD.sum(0),
            z=None if inputs.z is None else dz.transpose(1, 2),
            delta_bias=None if inputs.delta_bias is None else dbias.sum(0),
        )


def _array(tensor: Tensor) -> object:
    """The tensor as a contiguous float32 array, without a copy where it is one already."""
    return tensor.detach().to(torch.float32).contiguous().numpy()


def _rows(sequence: Tensor) -> object:
    """(B, D, L) as an array (B, L, D)."""
    return _array(sequence.transpose(1, 2))


def _arguments(inputs: ScanInputs) -> list[object]:
    """The arguments that both kernels begin with; zeros stand for the absent D and delta_bias."""
    u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse = inputs
    zeros = torch.zeros(u.shape[1])
    return [
        _rows(u),
        _rows(delta),
        _array(A.t()),
        _rows(B),
        _rows(C),
        _array(zeros if D is None else D),
        _rows(torch.empty(0, 0, 0) if z is None else z),
        _array(zeros if delta_bias is None else delta_bias),
        delta_softplus,
        z is not None,
        reverse,
    ]


def _tasks(inputs: ScanInputs) -> list[tuple[int, int, int, int, int]]:
    """(part, first and last sequence, first and last channel) of each task; tasks of one part share no sequence.

    Whole sequences where there are enough of them, else their channels are shared out as well. A few tasks per
    thread, so that a thread that was held up leaves its work to the others.
    """
    batch, channels, _, _ = inputs.sizes()
    number = torch.get_num_threads()
    enough = 1 if number == 1 else 4 * number
    groups = min(channels, -(-enough // batch)) if batch % number else 1
    sequences, shares = _split(batch, enough), _split(channels, groups)
    return [(part, *sequence, *share) for sequence, (part, share) in itertools.product(sequences, enumerate(shares))]


def _split(size: int, pieces: int) -> list[tuple[int, int]]:
    """0..size in at most so many ranges of nearly equal length."""
    pieces = min(size, pieces)
    return [(size * i // pieces, size * (i + 1) // pieces) for i in range(pieces)]
