"""The CUDA backend: `triton_kernels`, compiled for the GPU at hand when they first run.

With TRITON_INTERPRET=1 in the environment Triton's interpreter runs them on CPU tensors: very slow, for tests.
"""

import functools
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from nnunet_ext.ops.selective_scan.backend import ScanBackend, ScanGradients, ScanInputs
from nnunet_ext.ops.selective_scan.self_check import check
from nnunet_ext.ops.triton_runtime import interpreted, is_assumed, multiprocessors, problem, row_strides, rows

# Programs, of one warp each, per multiprocessor: so many hide the latency of memory, ...
FILLING = 16
# ... and so many fit at once in the backward pass, where a thread takes nearly all registers that it may.
RESIDENT = 8


class TritonBackend(ScanBackend):
    """Triton: CUDA, float32."""

    name = "triton"
    float64 = False
    channels_last = True
    pairs = True

    def problem(self, device_type: str | None) -> str | None:
        """Not a CUDA device, or Triton does not load, does not work, or computes something else on this GPU."""
        return problem(device_type) or (None if interpreted() or is_assumed() else _why_not_trusted())

    def state_shape(self, inputs: ScanInputs) -> tuple[int, ...]:
        """(B, chunks, D, N), for two scans (2, B, chunks, D, N): the state before each chunk."""
        from nnunet_ext.ops.selective_scan.triton_kernels import CHUNK

        _, channels, states, length = inputs.sizes()
        return *inputs.u.shape[:-2], -(-length // CHUNK), channels, states

    def forward(self, inputs: ScanInputs, save: bool) -> tuple[Tensor, Tensor | None]:
        """See `ScanBackend.forward`."""
        state = inputs.u.new_empty(self.state_shape(inputs), dtype=torch.float32) if save else None
        with torch.cuda.device_of(inputs.u):
            return _Launch(inputs).forward(state), state

    def backward(self, inputs: ScanInputs, state: Tensor, dy: Tensor) -> ScanGradients:
        """See `ScanBackend.backward`."""
        with torch.cuda.device_of(inputs.u):
            return _Launch(inputs).backward(state, dy)


@functools.cache
def _why_not_trusted() -> str | None:
    """What the kernels compute wrongly on this GPU; None if nothing."""
    try:
        return check(TritonBackend(), "cuda")
    except torch.OutOfMemoryError:  # says nothing of the kernels
        raise
    except Exception as error:  # Triton's own, the driver's: then the next backend computes
        return f"its kernels fail on this GPU: {type(error).__name__}: {error}"


class Plan(NamedTuple):
    """How the work is cut up."""

    blocks: int
    """Blocks of channels."""
    span: int
    """Steps of a segment, a multiple of CHUNK."""
    segments: int
    """Segments of a sequence."""
    workers: int
    """Programs of the backward pass per scan and block of channels."""


def make_plan(scans: int, batch: int, blocks: int, length: int, multiprocessors: int) -> Plan:
    """Whole sequences, as segments cost nearly twice the work; segments where more than half the GPU would be idle."""
    from nnunet_ext.ops.selective_scan.triton_kernels import CHUNK

    programs, wanted = scans * batch * blocks, FILLING * multiprocessors
    chunks = -(-length // CHUNK)
    segments = 1 if 2 * programs > wanted else min(chunks, -(-wanted // programs))
    span = -(-chunks // segments) * CHUNK
    segments = -(-length // span)
    workers = max(1, RESIDENT * multiprocessors // (scans * blocks))
    return Plan(blocks, span, segments, min(workers, batch * segments))


class _Launch:
    """The arguments of a scan as the kernels take them (see `triton_kernels`), and the launches.

    The axis of scans, K, is left out of the shapes of one scan, which makes no difference in memory.
    """

    def __init__(self, inputs: ScanInputs) -> None:
        from nnunet_ext.ops.selective_scan import triton_kernels

        self.kernels = triton_kernels
        self.inputs = inputs
        self.batch, self.channels, self.states, self.length = inputs.sizes()
        self.scans = inputs.u.shape[:-3]  # () or (2,)
        self.u, self.delta, self.B, self.C = (rows(x) for x in (inputs.u, inputs.delta, inputs.B, inputs.C))
        self.z = None if inputs.z is None else rows(inputs.z)
        self.A = inputs.A.contiguous()
        self.D = None if inputs.D is None else inputs.D.contiguous()
        self.bias = None if inputs.delta_bias is None else inputs.delta_bias.contiguous()
        BD, BN = triton_kernels.block_sizes(self.states)
        self.tile = {"N": self.states, "BD": BD, "BN": BN}
        self.plan = make_plan(
            prod(self.scans), self.batch, -(-self.channels // BD), self.length, multiprocessors(inputs.u.device)
        )

    def forward(self, state: Tensor | None) -> Tensor:
        """The output y, shaped as u; the states before the chunks are written to `state`."""
        y = self._new(*self.scans, self.batch, self.length, self.channels)
        entering = self._entering(self.u, self.B, adjoint=False)
        self.kernels.forward_kernel[self._grid(self.batch * self.plan.segments)](
            self.u, self.delta, self.A, self.B, self.C, self.D, self.z, self.bias, entering, y, state,
            *row_strides(self.u, self.delta, self.B, self.C, self.z), *self._sizes(), int(self.inputs.reverse),
            SOFTPLUS=self.inputs.delta_softplus, HAS_D=self.D is not None, HAS_Z=self.z is not None,
            HAS_BIAS=self.bias is not None, SAVE=state is not None, CARRIED=entering is not None,
            **self.tile, CHUNK=self.kernels.CHUNK, num_warps=1, enable_fp_fusion=True,
        )  # fmt: skip
        return y.transpose(-1, -2)

    def backward(self, state: Tensor, dy: Tensor) -> ScanGradients:
        """The gradients."""
        dy = rows(dy)
        blocks, workers = self.plan.blocks, self.plan.workers
        sequence = (*self.scans, self.batch, self.length)
        du, ddelta = (self._new(*sequence, self.channels, like=x) for x in (self.u, self.delta))
        dz = None if self.z is None else self._new(*sequence, self.channels, like=self.z)
        dB, dC = (self._new(blocks, *sequence, self.states) for _ in range(2))
        dA = self._new(workers, *self.scans, self.channels, self.states)
        dD, dbias = (None if x is None else self._new(workers, *self.scans, self.channels) for x in (self.D, self.bias))
        groups = self.kernels.CHUNK // self.kernels.GROUP
        grid = self._grid(workers)
        scratch = self._new(prod(grid), groups, self.tile["BD"], self.tile["BN"])
        entering = self._entering(dy, self.C, adjoint=True)
        self.kernels.backward_kernel[grid](
            self.u, self.delta, self.A, self.B, self.C, self.D, self.z, self.bias, state, dy, entering, scratch,
            du, ddelta, dA, dB, dC, dD, dz, dbias,
            *row_strides(self.u, self.delta, self.B, self.C, self.z, dy), *self._sizes(), workers,
            int(self.inputs.reverse),
            SOFTPLUS=self.inputs.delta_softplus, HAS_D=self.D is not None, HAS_Z=self.z is not None,
            HAS_BIAS=self.bias is not None, CARRIED=entering is not None,
            **self.tile, CHUNK=self.kernels.CHUNK, num_warps=1, enable_fp_fusion=True,
        )  # fmt: skip
        return ScanGradients(
            u=du.transpose(-1, -2),
            delta=ddelta.transpose(-1, -2),
            A=dA.sum(0),
            B=_sum_of_parts(dB).transpose(-1, -2),
            C=_sum_of_parts(dC).transpose(-1, -2),
            D=None if dD is None else dD.sum(0),
            z=None if dz is None else dz.transpose(-1, -2),
            delta_bias=None if dbias is None else dbias.sum(0),
        )

    def _entering(self, x: Tensor, V: Tensor, adjoint: bool) -> Tensor | None:
        """What enters each segment (K, B, segments, D, N): the state, or G; None if sequences have one segment."""
        if self.plan.segments == 1:
            return None
        entering = self._new(*self.scans, self.batch, self.plan.segments, self.channels, self.states)
        sums = self._new(*self.scans, self.batch, self.plan.segments, self.channels)
        z = self.z if adjoint else None
        self.kernels.segment_kernel[self._grid(self.batch * self.plan.segments)](
            x, self.delta, self.A, V, z, self.bias, entering, sums,
            *row_strides(x, self.delta, V, z), *self._sizes(), int(self.inputs.reverse),
            SOFTPLUS=self.inputs.delta_softplus, HAS_Z=z is not None, HAS_BIAS=self.bias is not None,
            ADJOINT=adjoint, **self.tile, num_warps=1, enable_fp_fusion=True,
        )  # fmt: skip
        self.kernels.carry_kernel[self._grid(self.batch)](
            self.A, entering, sums, self.batch, self.channels, self.plan.segments,
            ADJOINT=adjoint, **self.tile, num_warps=1, enable_fp_fusion=True,
        )  # fmt: skip
        return entering

    def _grid(self, items: int) -> tuple[int, int]:
        """One program per item, block of channels and scan."""
        return items * self.plan.blocks, prod(self.scans)

    def _sizes(self) -> tuple[int, ...]:
        return self.batch, self.channels, self.length, self.plan.span, self.plan.segments

    def _new(self, *shape: int, like: Tensor | None = None) -> Tensor:
        """An uninitialised tensor, float32 or of the dtype of `like`."""
        return self.u.new_empty(shape, dtype=torch.float32 if like is None else like.dtype)


def _sum_of_parts(parts: Tensor) -> Tensor:
    """The sum over the first axis, without a copy where it has length 1."""
    return parts[0] if len(parts) == 1 else parts.sum(0)
