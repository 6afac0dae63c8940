"""The selective scan in plain torch operations, for any device: the lane scan.

A sequence is walked tile by tile. A tile is cut into lanes of T steps that are scanned side by side, so that the Python
loop has T steps instead of lanes * T and each step works on a cache-sized block. The decays of a tile are computed
once, in one operation. Where it has several lanes, a first pass finds what each lane adds to the state, a short loop
carries the state from lane to lane, and a second pass computes the states. Nothing of size B*D*L*N is ever made: the
forward pass saves the state that enters each lane, and the backward pass computes the others again.

In here sequences are (tiles, T, lanes, b, D or N), of one tile (T, lanes, b, D or N), its states (T, lanes, b, N, D),
all in the order of time. Padding has a step size of zero (after the softplus), which leaves the state as it is, in both
directions.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunet_ext.ops.selective_scan.backend import SEQUENCES, ScanBackend, ScanGradients, ScanInputs


class _Sizes(NamedTuple):
    """What suits a kind of device."""

    work: int
    """Elements of the state that one step works on: what fits a core's cache, or what fills a GPU."""
    steps: int
    """Length of a lane."""
    lanes: int
    """The most in a tile, as these are carried through one after the other."""


CPU = _Sizes(work=2**16, steps=16, lanes=64)
OTHER = _Sizes(work=2**19, steps=32, lanes=256)
LARGEST_PRODUCT = 65535
"""Matrices in a batch, beyond which some GPU kernels end."""


class _Plan(NamedTuple):
    """How the work is cut up."""

    sequences: int
    """Sequences that are scanned side by side; the batch is worked off in such groups."""
    tiles: int
    lanes: int
    steps: int


class LaneBackend(ScanBackend):
    """The torch backend: float32 and float64, any device that torch has."""

    name = "torch"
    float64 = True
    channels_last = True

    def problem(self, device_type: str | None) -> str | None:
        """Never one."""
        return None

    def state_shape(self, inputs: ScanInputs) -> tuple[int, ...]:
        """(tiles, lanes, B, N, D): the state that enters every lane."""
        batch, channels, states, _ = inputs.sizes()
        plan = _plan(inputs)
        return plan.tiles, plan.lanes, batch, states, channels

    def forward(self, inputs: ScanInputs, save: bool) -> tuple[Tensor, Tensor | None]:
        """See `ScanBackend.forward`."""
        inputs = inputs.upcast()
        plan = _plan(inputs)
        state = inputs.u.new_empty(self.state_shape(inputs)) if save else None
        outputs = [
            _forward(_sequences(inputs, group), plan, None if state is None else state[:, :, group])
            for group in _groups(inputs, plan)
        ]
        return _joined(outputs), state

    def backward(self, inputs: ScanInputs, state: Tensor, dy: Tensor) -> ScanGradients:
        """See `ScanBackend.backward`."""
        inputs = inputs.upcast()
        plan = _plan(inputs)
        parts = [
            _backward(_sequences(inputs, group), plan, state[:, :, group], dy[group].to(inputs.dtype()))
            for group in _groups(inputs, plan)
        ]
        gradients = {}
        for name, of_groups in zip(ScanGradients._fields, zip(*parts, strict=True), strict=True):
            # Parameters are shared by all sequences, the others have a sequence of their own each.
            gradients[name] = (
                of_groups[0]
                if of_groups[0] is None or len(parts) == 1
                else (_joined(of_groups) if name in SEQUENCES else sum(of_groups))
            )
        return ScanGradients(**gradients)


def _plan(inputs: ScanInputs) -> _Plan:
    batch, channels, states, length = inputs.sizes()
    sizes = CPU if inputs.u.device.type == "cpu" else OTHER
    steps = min(length, sizes.steps)
    rows = max(1, min(sizes.work // max(1, channels * states), LARGEST_PRODUCT // steps))
    sequences = max(1, min(batch, rows))
    lanes = max(1, min(rows // sequences, sizes.lanes))
    tiles = -(-length // (lanes * steps))
    return _Plan(sequences, tiles, -(-length // (tiles * steps)), steps)  # as many tiles with the fewest lanes


def _groups(inputs: ScanInputs, plan: _Plan) -> list[slice]:
    return [slice(start, start + plan.sequences) for start in range(0, inputs.u.shape[0], plan.sequences)]


def _sequences(inputs: ScanInputs, group: slice) -> ScanInputs:
    """The inputs of some sequences of the batch."""
    return inputs._replace(
        u=inputs.u[group],
        delta=inputs.delta[group],
        B=inputs.B[group],
        C=inputs.C[group],
        z=None if inputs.z is None else inputs.z[group],
    )


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Sequences (b, D, L) of all groups, (B, D, L), with D innermost in memory and no gaps."""
    rows = [part.transpose(1, 2) for part in parts]  # (b, L, D)
    return (rows[0] if len(rows) == 1 else torch.cat(rows)).contiguous().transpose(1, 2)


def _to_tiles(x: Tensor, plan: _Plan) -> Tensor:
    """(b, D, L) to (tiles, T, lanes, b, D), padded with zeros at the end of the sequence."""
    rows = x.transpose(1, 2)  # (b, L, D)
    padding = plan.tiles * plan.lanes * plan.steps - rows.shape[1]
    if padding:
        rows = F.pad(rows, (0, 0, 0, padding))
    return rows.unflatten(1, (plan.tiles, plan.lanes, plan.steps)).permute(1, 3, 2, 0, 4).contiguous()


def _from_tiles(x: Tensor, length: int) -> Tensor:
    """(tiles, T, lanes, b, D) to (b, D, L), without the padding; D is innermost in memory."""
    return x.permute(3, 0, 2, 1, 4).flatten(1, 3)[:, :length].transpose(1, 2)


class _Recurrence:
    """The recurrence of one group of sequences.

    Attributes:
        dl, dlu: (tiles, T, lanes, b, D), step sizes after bias and softplus, and these times u.
        B, C: (tiles, T, lanes, b, N).
        A: (N, D).
        order, lane_order, tile_order: steps of a lane, lanes of a tile and tiles in the order of the scan.
        decay: (T, lanes, b, N, D), exp(dl A) at each step of the tile at hand; `decays`, each of them.
        before, after: (T, lanes, b, N, D), the state before and after each step, in the same memory.
        chain: the state that enters, and the states after each step, in the order of the scan.
    """

    def __init__(self, inputs: ScanInputs, dl: Tensor, plan: _Plan) -> None:
        self.dl = _to_tiles(dl, plan)
        self.dlu = self.dl * _to_tiles(inputs.u, plan)
        self.B, self.C = _to_tiles(inputs.B, plan), _to_tiles(inputs.C, plan)
        self.A = inputs.A.t().contiguous()
        way = -1 if inputs.reverse else 1
        self.order, self.lane_order, self.tile_order = (
            range(count)[::way] for count in (plan.steps, plan.lanes, plan.tiles)
        )
        shape = (plan.lanes, inputs.u.shape[0], *self.A.shape)
        self.decay = self.dl.new_empty(plan.steps, *shape)
        self.decays = self.decay.unbind()
        states = self.dl.new_empty(plan.steps + 1, *shape)
        self.before, self.after = (states[1:], states[:-1]) if inputs.reverse else (states[:-1], states[1:])
        self.chain = states.unbind()[::way]

    def begin(self, tile: int) -> None:
        """Compute the decays of a tile, and what each step adds to the state, dl B u, in the place of `after`."""
        torch.mul(self.dl[tile].unsqueeze(-2), self.A, out=self.decay).exp_()
        torch.mul(self.dlu[tile].unsqueeze(-2), self.B[tile].unsqueeze(-1), out=self.after)

    def lane_decays(self, tile: int) -> tuple[Tensor, ...]:
        """The decay over each whole lane, (b, N, D)."""
        return torch.mul(self.dl[tile].sum(0).unsqueeze(-2), self.A).exp_().unbind()

    def zero_state(self) -> Tensor:
        """A state of zeros, (b, N, D)."""
        return self.dl.new_zeros(self.chain[0].shape[1:])


def _accumulate(x: Sequence[Tensor], decays: Sequence[Tensor]) -> None:
    """x[i + 1] += decays[i] x[i], one after the other."""
    for (previous, this), decay in zip(itertools.pairwise(x), decays, strict=True):
        this.addcmul_(decay, previous)


def _end(x: Sequence[Tensor], decays: Sequence[Tensor]) -> Tensor:
    """The last x of `_accumulate`, which leaves x as it is."""
    end = x[0].clone()
    for this, decay in zip(x[1:], decays, strict=True):
        torch.addcmul(this, decay, end, out=end)
    return end


def _carry(entering: Tensor, first: Tensor, ends: Tensor, decays: Sequence[Tensor], order: Sequence[int]) -> None:
    """Write what enters each lane (lanes, b, N, D), given what enters the first, and what each adds and its decay."""
    enters, adds = entering.unbind(), ends.unbind()
    enters[order[0]].copy_(first)
    for lane, following in itertools.pairwise(order):
        torch.addcmul(adds[lane], decays[lane], enters[lane], out=enters[following])


def _rows(delta: Tensor, bias: Tensor | None, softplus: bool) -> tuple[Tensor, Tensor]:
    """Delta with its bias, and the step size, both (b, D, L)."""
    raw = delta if bias is None else delta + bias[:, None]
    return raw, F.softplus(raw) if softplus else raw


def _forward(inputs: ScanInputs, plan: _Plan, state: Tensor | None) -> Tensor:
    """The outputs (b, D, L) of one group; writes its checkpoints into `state` (tiles, lanes, b, N, D)."""
    _, dl = _rows(inputs.delta, inputs.delta_bias, inputs.delta_softplus)
    scan = _Recurrence(inputs, dl, plan)
    decays = [scan.decays[t] for t in scan.order]
    entering, *after = scan.chain
    s = torch.empty_like(scan.dl)
    h = scan.zero_state()
    for tile in scan.tile_order:
        scan.begin(tile)
        if plan.lanes > 1:
            _carry(entering, h, _end(after, decays[1:]), scan.lane_decays(tile), scan.lane_order)
        else:
            entering.copy_(h)
        if state is not None:
            state[tile] = entering
        _accumulate(scan.chain, decays)
        h = after[-1][scan.lane_order[-1]].clone()
        torch.matmul(scan.C[tile].unsqueeze(-2), scan.after, out=s[tile].unsqueeze(-2))  # (1, N) @ (N, D)
    y = _from_tiles(s, inputs.u.shape[2])
    if inputs.D is not None:
        y = torch.addcmul(y, inputs.u, inputs.D[:, None])
    return y if inputs.z is None else y * F.silu(inputs.z)


class _Adjoint(NamedTuple):
    """What the recurrence yields backwards."""

    s: Tensor | None  # (b, D, L), the outputs before skip connection and gate; only where there is a gate
    xbar: Tensor  # (b, D, L), gradient of dl u
    ddl: Tensor  # (b, D, L), gradient of dl
    A: Tensor  # the gradient, (D, N)
    B: Tensor  # the gradient, (b, N, L)
    C: Tensor  # the gradient, (b, N, L)


def _retreat(inputs: ScanInputs, dl: Tensor, ds: Tensor, plan: _Plan, state: Tensor) -> _Adjoint:
    """The recurrence backwards, given the step size and the gradient of the outputs before the gate (b, D, L)."""
    scan = _Recurrence(inputs, dl, plan)
    gy = _to_tiles(ds, plan)
    s = None if inputs.z is None else torch.empty_like(gy)
    dB, dC = torch.empty_like(scan.B), torch.empty_like(scan.C)
    ddl, xbar = torch.empty_like(gy), torch.empty_like(gy)
    dA = torch.zeros_like(scan.chain[0])  # (lanes, b, N, D)

    g = torch.empty_like(scan.decay)  # the gradient of the state after each step
    decays = [scan.decays[t] for t in scan.order]
    backwards = [g[t] for t in scan.order[::-1]]
    first_lane = scan.lane_order[0]
    G = scan.zero_state()  # what the steps of later tiles contribute to it
    entering = torch.empty_like(scan.chain[0])
    for tile in scan.tile_order[::-1]:
        scan.begin(tile)
        scan.chain[0].copy_(state[tile])
        _accumulate(scan.chain, decays)
        torch.matmul(gy[tile].unsqueeze(-2), scan.after.mT, out=dC[tile].unsqueeze(-2))  # (1, D) @ (D, N)
        if s is not None:
            torch.matmul(scan.C[tile].unsqueeze(-2), scan.after, out=s[tile].unsqueeze(-2))  # (1, N) @ (N, D)

        torch.mul(scan.C[tile].unsqueeze(-1), gy[tile].unsqueeze(-2), out=g)
        if plan.lanes > 1:
            ends = _end(backwards, decays[:0:-1]).mul_(decays[0])
            _carry(entering, G, ends, scan.lane_decays(tile), scan.lane_order[::-1])
        else:
            entering.copy_(G)
        backwards[0].add_(entering)
        _accumulate(backwards, decays[:0:-1])
        G = backwards[-1][first_lane] * decays[0][first_lane]

        torch.matmul(scan.dlu[tile].unsqueeze(-2), g.mT, out=dB[tile].unsqueeze(-2))  # (1, D) @ (D, N)
        torch.matmul(scan.B[tile].unsqueeze(-2), g, out=xbar[tile].unsqueeze(-2))  # (1, N) @ (N, D)
        p = scan.decay.mul_(g).mul_(scan.before)  # the gradient of dl A
        for of_step, dl_of_step in zip(p, scan.dl[tile].unsqueeze(-2), strict=True):
            dA.addcmul_(of_step, dl_of_step)
        torch.sum(p.mul_(scan.A), -2, out=ddl[tile])

    length = inputs.u.shape[2]
    return _Adjoint(
        s=None if s is None else _from_tiles(s, length),
        xbar=_from_tiles(xbar, length),
        ddl=_from_tiles(ddl, length),
        A=dA.sum((0, 1)).t(),
        B=_from_tiles(dB, length),
        C=_from_tiles(dC, length),
    )


def _backward(inputs: ScanInputs, plan: _Plan, state: Tensor, dy: Tensor) -> ScanGradients:
    """The gradients of one group, in float32 or float64."""
    raw, dl = _rows(inputs.delta, inputs.delta_bias, inputs.delta_softplus)
    gate = None if inputs.z is None else torch.sigmoid(inputs.z)  # (b, D, L)
    ds = (
        dy if gate is None or inputs.z is None else (inputs.z * gate).mul_(dy)
    )  # (b, D, L), gradient of the output before the gate
    adjoint = _retreat(inputs, dl, ds, plan, state)
    du = adjoint.xbar * dl
    del dl
    ddelta = adjoint.ddl.addcmul_(adjoint.xbar, inputs.u)
    if inputs.delta_softplus:
        ddelta.mul_(torch.sigmoid(raw))
    del raw
    if inputs.D is not None:
        du.addcmul_(ds, inputs.D[:, None])
    dz = adjoint.s
    if dz is not None and gate is not None and inputs.z is not None:
        if inputs.D is not None:
            dz.addcmul_(inputs.u, inputs.D[:, None])
        dz.mul_(dy).mul_(gate).mul_((1 - gate).mul_(inputs.z).add_(1))
    return ScanGradients(
        u=du,
        delta=ddelta,
        A=adjoint.A,
        B=adjoint.B,
        C=adjoint.C,
        D=None if inputs.D is None else (ds * inputs.u).sum((0, 2)),
        z=dz,
        delta_bias=None if inputs.delta_bias is None else ddelta.sum((0, 2)),
    )
