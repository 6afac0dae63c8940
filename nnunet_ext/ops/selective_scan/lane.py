"""The selective scan in plain torch operations, for any device: the lane scan.

A sequence is cut into lanes of T steps that are scanned side by side, so that the Python loop has T steps instead of L
and each step works on a cache-sized block. When there are several lanes, a first pass finds what each adds to the
state, a short loop carries the state from lane to lane, and a second pass computes the outputs. No tensor of B*D*L*N
elements is ever made: the forward pass saves the state every BLOCK steps, the backward pass recomputes the rest.

In here sequences are (T, b, lanes, D or N), states (b, lanes, N, D), with D innermost. Padding has a step size of zero
(after the softplus), which leaves the state as it is, in both directions.
"""

import itertools
from collections.abc import Sequence
from math import isqrt
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunet_ext.ops.selective_scan.backend import ScanBackend, ScanGradients, ScanInputs

BLOCK = 16
MAX_LANES_CPU = 64
MIN_LANE_LENGTH = 32
# Elements of the state that one step works on: what fits a core's cache, or what fills a GPU.
WORK_CPU = 2**16
WORK_OTHER = 2**21  # keeps the batches of matrix products below 65,536, where some GPU kernels end


class _Plan(NamedTuple):
    """How the work is cut up."""

    sequences: int
    """Sequences that are scanned side by side; the batch is worked off in such groups."""
    lanes: int
    steps: int
    """Length of a lane, a multiple of BLOCK."""


class _Lanes(NamedTuple):
    """The recurrence of one group of sequences, in the lane layout."""

    dl: Tensor  # (T, b, lanes, D), step sizes after bias and softplus
    dlu: Tensor  # (T, b, lanes, D), dl * u
    B: Tensor  # (T, b, lanes, N)
    C: Tensor  # (T, b, lanes, N)
    A: Tensor  # (N, D)
    order: Sequence[int]
    """The steps within a lane in the order of the scan."""
    lane_order: Sequence[int]

    def decay(self, t: int) -> Tensor:
        """exp(dl A) at step t, (b, lanes, N, D)."""
        return torch.mul(self.dl[t].unsqueeze(-2), self.A).exp_()

    def lane_decay(self) -> Tensor:
        """The decay over a whole lane, (b, lanes, N, D)."""
        return torch.exp(self.dl.sum(0).unsqueeze(-2) * self.A)

    def drive(self, h: Tensor, t: int) -> Tensor:
        """Add dl B u of step t to the state h (b, lanes, N, D), in place."""
        return h.addcmul_(self.B[t].unsqueeze(-1), self.dlu[t].unsqueeze(-2))

    def zero_state(self) -> Tensor:
        """A state of zeros, (b, lanes, N, D)."""
        _, sequences, lanes, channels = self.dl.shape
        return self.dl.new_zeros(sequences, lanes, self.A.shape[0], channels)


class LaneBackend(ScanBackend):
    """The torch backend: float32 and float64, any device that torch has."""

    name = "torch"
    float64 = True

    def problem(self, device_type: str | None) -> str | None:
        """Never one."""
        return None

    def state_shape(self, inputs: ScanInputs) -> tuple[int, ...]:
        """(B, lanes, T / BLOCK, N, D): the state before every block of steps."""
        batch, channels, states, _ = inputs.sizes
        plan = _plan(inputs)
        return batch, plan.lanes, plan.steps // BLOCK, states, channels

    def forward(self, inputs: ScanInputs, save: bool) -> tuple[Tensor, Tensor | None]:
        """See `ScanBackend.forward`."""
        inputs = inputs.upcast()
        plan = _plan(inputs)
        y = torch.empty_like(inputs.u, memory_format=torch.contiguous_format)
        state = inputs.u.new_empty(self.state_shape(inputs)) if save else None
        for start in range(0, inputs.u.shape[0], plan.sequences):
            group = slice(start, start + plan.sequences)
            y[group] = _forward(_sequences(inputs, group), plan, None if state is None else state[group])
        return y, state

    def backward(self, inputs: ScanInputs, state: Tensor, dy: Tensor) -> ScanGradients:
        """See `ScanBackend.backward`."""
        inputs = inputs.upcast()
        plan = _plan(inputs)
        total = ScanGradients(*(None if tensor is None else torch.zeros_like(tensor) for tensor in inputs.tensors))  # type: ignore[arg-type]  # none is None that must not be
        for start in range(0, inputs.u.shape[0], plan.sequences):
            group = slice(start, start + plan.sequences)
            gradients = _backward(_sequences(inputs, group), plan, state[group], dy[group])
            for name, whole, gradient in zip(ScanGradients._fields, total, gradients, strict=True):
                if whole is not None and gradient is not None:
                    # Parameters are shared by all sequences, the others have a sequence of their own each.
                    (whole if name in ("A", "D", "delta_bias") else whole[group]).add_(gradient)
        return total


def _plan(inputs: ScanInputs) -> _Plan:
    batch, channels, states, length = inputs.sizes
    on_cpu = inputs.u.device.type == "cpu"
    work = (WORK_CPU if on_cpu else WORK_OTHER) // max(1, channels * states)
    sequences = max(1, min(batch, work))
    # Python steps are about twice a lane's length, and one per lane for what enters it: fewest at sqrt(2 L) lanes.
    lanes = max(1, min(MAX_LANES_CPU if on_cpu else isqrt(2 * length), work // sequences))
    while lanes > 1 and length // lanes < MIN_LANE_LENGTH:
        lanes //= 2
    steps = -(-length // lanes)
    return _Plan(sequences, lanes, -(-steps // BLOCK) * BLOCK)


def _sequences(inputs: ScanInputs, group: slice) -> ScanInputs:
    """The inputs of some sequences of the batch."""
    return inputs._replace(
        u=inputs.u[group],
        delta=inputs.delta[group],
        B=inputs.B[group],
        C=inputs.C[group],
        z=None if inputs.z is None else inputs.z[group],
    )


def _to_lanes(x: Tensor, plan: _Plan) -> Tensor:
    """(b, D, L) to (T, b, lanes, D), padded with zeros at the end of the sequence."""
    sequences, channels, length = x.shape
    x = F.pad(x, (0, plan.lanes * plan.steps - length))  # (b, D, lanes * T)
    return x.view(sequences, channels, plan.lanes, plan.steps).permute(3, 0, 2, 1).contiguous()


def _from_lanes(x: Tensor, length: int) -> Tensor:
    """(T, b, lanes, D) to (b, D, L), without the padding."""
    steps, sequences, lanes, channels = x.shape
    return x.permute(1, 3, 2, 0).reshape(sequences, channels, lanes * steps)[..., :length]


def _prepare(inputs: ScanInputs, plan: _Plan) -> tuple[Tensor, _Lanes]:
    """Delta with its bias (b, D, L), and the recurrence in the lane layout."""
    raw = inputs.delta if inputs.delta_bias is None else inputs.delta + inputs.delta_bias[:, None]  # (b, D, L)
    dl = _to_lanes(F.softplus(raw) if inputs.delta_softplus else raw, plan)
    order, lane_order = range(plan.steps), range(plan.lanes)
    lanes = _Lanes(
        dl=dl,
        dlu=dl * _to_lanes(inputs.u, plan),
        B=_to_lanes(inputs.B, plan),
        C=_to_lanes(inputs.C, plan),
        A=inputs.A.t().contiguous(),
        order=order[::-1] if inputs.reverse else order,
        lane_order=lane_order[::-1] if inputs.reverse else lane_order,
    )
    return raw, lanes


def _forward(inputs: ScanInputs, plan: _Plan, state: Tensor | None) -> Tensor:
    """The outputs (b, D, L) of one group; writes its checkpoints into `state`."""
    _, lanes = _prepare(inputs, plan)
    s = torch.empty_like(lanes.dl)  # (T, b, lanes, D)
    h = lanes.zero_state()
    if plan.lanes > 1:
        for t in lanes.order:
            lanes.drive(h.mul_(lanes.decay(t)), t)
        h = _carry(h, lanes.lane_decay(), lanes.lane_order)
    for i, t in enumerate(lanes.order):
        if state is not None and i % BLOCK == 0:
            state[:, :, i // BLOCK] = h
        lanes.drive(h.mul_(lanes.decay(t)), t)
        s[t] = torch.matmul(lanes.C[t].unsqueeze(-2), h).squeeze(-2)  # (b, lanes, 1, N) @ (b, lanes, N, D)
    y = _from_lanes(s, inputs.u.shape[2])
    if inputs.D is not None:
        y = torch.addcmul(y, inputs.u, inputs.D[:, None])
    return y if inputs.z is None else y * F.silu(inputs.z)


def _carry(ends: Tensor, decay: Tensor, lane_order: Sequence[int]) -> Tensor:
    """What enters each lane, given what each adds and its decay, all (b, lanes, N, D)."""
    entering = torch.zeros_like(ends)
    for previous, lane in itertools.pairwise(lane_order):
        entering[:, lane] = ends[:, previous] + decay[:, previous] * entering[:, previous]
    return entering


def _backward(inputs: ScanInputs, plan: _Plan, state: Tensor, dy: Tensor) -> ScanGradients:
    """The gradients of one group, in float32 or float64."""
    raw, lanes = _prepare(inputs, plan)
    length = inputs.u.shape[2]

    ds = dy if inputs.z is None else dy * F.silu(inputs.z)  # (b, D, L), gradient of the output before the gate
    gy = _to_lanes(ds, plan)  # (T, b, lanes, D)
    s = None if inputs.z is None else torch.empty_like(gy)
    dB, dC = torch.empty_like(lanes.B), torch.empty_like(lanes.C)  # (T, b, lanes, N)
    ddl, xbar = torch.empty_like(gy), torch.empty_like(gy)  # (T, b, lanes, D); xbar is the gradient of dl * u
    dA = lanes.zero_state()

    G = lanes.zero_state()  # the gradient that reaches a step's state from the steps after it
    if plan.lanes > 1:
        for t in reversed(lanes.order):
            G.addcmul_(lanes.C[t].unsqueeze(-1), gy[t].unsqueeze(-2)).mul_(lanes.decay(t))
        G = _carry(G, lanes.lane_decay(), lanes.lane_order[::-1])

    for block in reversed(range(plan.steps // BLOCK)):
        steps = lanes.order[block * BLOCK : (block + 1) * BLOCK]
        span = slice(min(steps), max(steps) + 1)
        decays: list[Tensor] = []  # each (b, lanes, N, D)
        after = state.new_empty(BLOCK, *G.shape)  # the state after each step, ordered by time
        before = [state[:, :, block]]
        for t in steps:
            decays.append(lanes.decay(t))
            lanes.drive(torch.mul(before[-1], decays[-1], out=after[t - span.start]), t)
            before.append(after[t - span.start])
        dC[span] = torch.matmul(after, gy[span].unsqueeze(-1)).squeeze(-1)  # (N, D) @ (D, 1)
        if s is not None:
            s[span] = torch.matmul(lanes.C[span].unsqueeze(-2), after).squeeze(-2)  # (1, N) @ (N, D)
        for i in reversed(range(BLOCK)):
            t = steps[i]
            G.addcmul_(lanes.C[t].unsqueeze(-1), gy[t].unsqueeze(-2))
            dB[t] = torch.matmul(G, lanes.dlu[t].unsqueeze(-1)).squeeze(-1)  # (N, D) @ (D, 1)
            xbar[t] = torch.matmul(lanes.B[t].unsqueeze(-2), G).squeeze(-2)  # (1, N) @ (N, D)
            G.mul_(decays[i])
            p = before[i].mul_(G) if i else before[i] * G  # the gradient of dl A; the checkpoint stays as it is
            dA.addcmul_(p, lanes.dl[t].unsqueeze(-2))
            ddl[t] = p.mul_(lanes.A).sum(-2)

    du_scan, ddl_scan = _from_lanes(xbar, length), _from_lanes(ddl, length)  # (b, D, L)
    dl = _from_lanes(lanes.dl, length)
    ddelta = torch.addcmul(ddl_scan, du_scan, inputs.u)
    if inputs.delta_softplus:
        ddelta = ddelta * torch.sigmoid(raw)
    du = du_scan * dl
    dz = None
    if inputs.D is not None:
        du = torch.addcmul(du, ds, inputs.D[:, None])
    if inputs.z is not None and s is not None:
        y = _from_lanes(s, length)
        if inputs.D is not None:
            y = torch.addcmul(y, inputs.u, inputs.D[:, None])
        gate = torch.sigmoid(inputs.z)
        dz = dy * y * gate * (1 + inputs.z * (1 - gate))
    return ScanGradients(
        u=du,
        delta=ddelta,
        A=dA.sum((0, 1)).t(),
        B=_from_lanes(dB, length),
        C=_from_lanes(dC, length),
        D=None if inputs.D is None else (ds * inputs.u).sum((0, 2)),
        z=dz,
        delta_bias=None if inputs.delta_bias is None else ddelta.sum((0, 2)),
    )
