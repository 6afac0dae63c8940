"""The selective scan compiled for the CPU by numba. Importing this module imports numba.

One kernel works off a range of sequences and channels, without the GIL; `numba_cpu` runs several in threads. A row
(one sequence, one channel) is walked in tiles of TILE steps, whose decays are computed before the recurrence: they do
not depend on the state, so this part vectorises, and the exponentials stay out of the chain of dependent steps.
Everything is float32. Symbols are those of `naive`; B and C come as (B, L, N), so that the states of a step lie side
by side.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import njit

from nnunet_ext.cache import cache_folder

TILE = 64
_USUAL = 16  # the number of states that Mamba-1 is used with

_f32 = np.float32
_ZERO, _ONE, _TWO = _f32(0), _f32(1), _f32(2)
_LOG2_E = _f32(math.log2(math.e))
# Adding and subtracting 1.5 * 2^23 rounds to an integer, which the lowest bits of the sum hold as well.
_ROUND = _f32(1.5 * 2**23)
_ROUND_BITS = np.int32(np.float32(1.5 * 2**23).view(np.int32))
_BIAS, _MANTISSA_BITS = np.int32(127), np.int32(23)
_LOWEST, _HIGHEST = _f32(-126), _f32(128)
# ln(2)^j / j!: the Taylor series of 2^f, at most 2e-8 off for |f| <= 1/2.
_E1, _E2, _E3, _E4, _E5, _E6 = (_f32(math.log(2) ** j / math.factorial(j)) for j in range(1, 7))
# 1 / (2j + 1): the series of atanh(r) / r in r^2, at most 2e-8 off for r <= 1/3.
_L1, _L2, _L3, _L4, _L5, _L6 = (_f32(1 / (2 * j + 1)) for j in range(1, 7))

# NaN and infinity must come out as they went in (gradient scalers look for them), so these two assumptions of
# fastmath are left out.
_FAST = {"reassoc", "contract", "nsz", "arcp"}


# Reassociation would cancel the addition against the subtraction of _ROUND.
@njit(fastmath={"contract"}, error_model="numpy", nogil=True)
def _exp(x: Any) -> Any:
    """The exponential without branches or calls, so that loops over it vectorise; exp(x) < 2^-126 becomes 2^-126."""
    y = x * _LOG2_E
    y = _LOWEST if y < _LOWEST else y  # written so that NaN passes
    y = _HIGHEST if y > _HIGHEST else y
    shifted = y + _ROUND
    f = y - (shifted - _ROUND)  # -1/2..1/2
    power = _f32(1) + f * (_E1 + f * (_E2 + f * (_E3 + f * (_E4 + f * (_E5 + f * _E6)))))
    exponent = np.float32(shifted).view(np.int32) - _ROUND_BITS
    # int32: numba adds and shifts in 64 bits
    return power * np.int32((exponent + _BIAS) << _MANTISSA_BITS).view(np.float32)


@njit(fastmath={"contract"}, error_model="numpy", nogil=True)
def _sigmoid(x: Any) -> Any:
    return _ONE / (_ONE + _exp(-x))


@njit(fastmath={"contract"}, error_model="numpy", nogil=True)
def _softplus(x: Any) -> Any:
    """max(x, 0) + log1p(exp(-|x|)), with log1p(e) = 2 atanh(e / (2 + e)): as exact for x = -12 as for x = 12."""
    e = _exp(-abs(x))
    r = e / (_TWO + e)
    q = r * r
    series = _ONE + q * (_L1 + q * (_L2 + q * (_L3 + q * (_L4 + q * (_L5 + q * _L6)))))
    return (_ZERO if x < _ZERO else x) + _TWO * r * series


# The helpers below work on the steps i < count of one tile; rows are flat, [i * states + n]. The number of states is an
# argument on purpose: constant loops over states would be unrolled before LLVM's loop vectoriser sees them, and numba
# leaves off the pass that vectorises unrolled code. Kernels with constant loops took three times as long.
_helper = functools.partial(njit, fastmath=_FAST, error_model="numpy", nogil=True)


@_helper()
def _steps(delta: Any, u: Any, bias: Any, softplus: Any, dl: Any, dlu: Any, count: Any) -> None:
    """Step sizes dl and dl u."""
    for i in range(count):
        x = delta[i] + bias
        dl[i] = _softplus(x) if softplus else x
    for i in range(count):
        dlu[i] = dl[i] * u[i]


@_helper()
def _decays(dl: Any, row: Any, a: Any, count: Any, states: Any) -> None:
    """a[i, n] = exp(dl[i] row[n])."""
    for i in range(count):
        x = dl[i]
        for n in range(states):
            a[i * states + n] = x * row[n]
    for j in range(count * states):
        a[j] = _exp(a[j])


@_helper()
def _scale(out: Any, factors: Any, rows: Any, count: Any, states: Any) -> None:
    """out[i, n] = factors[i] rows[i, n]."""
    for i in range(count):
        x = factors[i]
        for n in range(states):
            out[i * states + n] = x * rows[i * states + n]


@_helper()
def _add_scaled(out: Any, factors: Any, rows: Any, count: Any, states: Any) -> None:
    """out[i, n] += factors[i] rows[i, n]."""
    for i in range(count):
        x = factors[i]
        for n in range(states):
            out[i * states + n] += x * rows[i * states + n]


@_helper()
def _add_weighted_sum(out: Any, factors: Any, rows: Any, count: Any, states: Any) -> None:
    """out[n] += sum over i of factors[i] rows[i, n]."""
    for i in range(count):
        x = factors[i]
        for n in range(states):
            out[n] += x * rows[i * states + n]


@_helper()
def _dots(out: Any, rows: Any, others: Any, count: Any, states: Any) -> None:
    """out[i] = sum over n of rows[i, n] others[i, n]."""
    for i in range(count):
        total = _ZERO
        for n in range(states):
            total += rows[i * states + n] * others[i * states + n]
        out[i] = total


@_helper()
def _dots_with_row(out: Any, rows: Any, row: Any, count: Any, states: Any) -> None:
    """out[i] = sum over n of rows[i, n] row[n]."""
    for i in range(count):
        total = _ZERO
        for n in range(states):
            total += rows[i * states + n] * row[n]
        out[i] = total


@_helper()
def _accumulate(x: Any, a: Any, steps: Any, states: Any, descending: Any) -> None:
    """The recurrence, in place: x[i + 1, n] += a[i, n] x[i, n] for i < steps, or x[i, n] += a[i, n] x[i + 1, n]."""
    if states == _USUAL:
        # At a distance that it knows, LLVM vectorises the recurrence as one loop. Unsigned indices cannot be negative,
        # so that no wrap-around stands in the way.
        size, one, distance = np.uint64(steps) * np.uint64(_USUAL), np.uint64(1), np.uint64(_USUAL)
        if descending:
            for j in range(size):
                k = size - one - j
                x[k] += a[k] * x[k + distance]
        else:
            for j in range(size):
                x[j + distance] += a[j] * x[j]
        return
    for step in range(steps):
        i = steps - 1 - step if descending else step
        left, right, decay = x[i * states :], x[(i + 1) * states :], a[i * states :]
        for n in range(states):
            if descending:
                left[n] += decay[n] * right[n]
            else:
                right[n] += decay[n] * left[n]


class Kernels(NamedTuple):
    """The compiled kernels."""

    forward: Callable[..., None]
    backward: Callable[..., None]


@functools.cache
def kernels() -> Kernels:
    """The kernels, compiled or from numba's cache; without a cache where none can be written."""
    config: Any = numba.config  # whose settings are made at run time, unseen by type checkers
    users = config.CACHE_DIR
    try:
        # numba's own choice, beside this file, would leave files behind when the package is uninstalled.
        config.CACHE_DIR = users or str(cache_folder())
        return _compile(cache=True)
    except (OSError, RuntimeError):  # also what Path.home() raises for a user without a home
        return _compile(cache=False)
    finally:
        config.CACHE_DIR = users


def _compile(cache: bool) -> Kernels:
    jit = functools.partial(njit, fastmath=_FAST, error_model="numpy", nogil=True, cache=cache)
    return Kernels(jit(_FORWARD_TYPES)(_forward), jit(_BACKWARD_TYPES)(_backward))


def _forward(  # type: ignore[no-untyped-def]  # numba infers the types
    u, delta, A, B, C, D, z, bias, softplus, gated, reverse, save, y, state, b_start, b_stop, d_start, d_stop
):
    """Write y (B, D, L), and with `save` the state (B, D, tiles, N) that enters each tile."""
    length, states = u.shape[2], A.shape[1]
    tiles = (length + TILE - 1) // TILE
    dl, dlu = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    a = np.empty(TILE * states, np.float32)
    # The states around the steps of a tile; that after step i begins at i * states + after.
    h = np.empty((TILE + 1) * states, np.float32)
    after = 0 if reverse else states
    carry = np.empty(states, np.float32)
    for b in range(b_start, b_stop):
        for d in range(d_start, d_stop):
            carry[:] = _ZERO
            for k in range(tiles):
                tile = tiles - 1 - k if reverse else k
                start = tile * TILE
                stop = min(start + TILE, length)
                count = stop - start
                u_t, y_t = u[b, d, start:stop], y[b, d, start:stop]
                if save:
                    state[b, d, tile, :] = carry
                _steps(delta[b, d, start:stop], u_t, bias[d], softplus, dl, dlu, count)
                _decays(dl, A[d], a, count, states)
                _scale(h[after:], dlu, B[b, start * states :], count, states)
                enters, leaves = (count * states, 0) if reverse else (0, count * states)
                h[enters : enters + states] = carry
                _accumulate(h, a, count, states, reverse)
                carry[:] = h[leaves : leaves + states]
                _dots(y_t, h[after:], C[b, start * states :], count, states)
                for i in range(count):
                    y_t[i] += D[d] * u_t[i]
                if gated:
                    z_t = z[b, d, start:stop]
                    for i in range(count):
                        y_t[i] *= z_t[i] * _sigmoid(z_t[i])


def _backward(  # type: ignore[no-untyped-def]  # numba infers the types
    u, delta, A, B, C, D, z, bias, softplus, gated, reverse, state, dy,
    du, ddelta, dA, dB, dC, dD, dz, dbias, task, part, b_start, b_stop, d_start, d_stop,
):  # fmt: skip
    """Write du, ddelta, dz (B, D, L); add to dA (tasks, D, N), dD, dbias (tasks, D) and dB, dC (parts, B, L * N)."""
    length, states = u.shape[2], A.shape[1]
    tiles = (length + TILE - 1) // TILE
    dl, dlu, ds = np.empty(TILE, np.float32), np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    xbar, decay_sum = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    a = np.empty(TILE * states, np.float32)
    # The states around the steps of a tile; that before step i begins at i * states + before.
    h = np.empty((TILE + 1) * states, np.float32)
    before, after = (states, 0) if reverse else (0, states)
    g = np.empty(TILE * states, np.float32)  # the gradient of the state after each step
    carry = np.empty(states, np.float32)  # what of it the steps of later tiles contribute
    gA = np.empty(states, np.float32)
    for b in range(b_start, b_stop):
        for d in range(d_start, d_stop):
            carry[:] = _ZERO
            gA[:] = _ZERO
            gD = _ZERO
            gbias = _ZERO
            for k in range(tiles):
                tile = k if reverse else tiles - 1 - k
                start = tile * TILE
                stop = min(start + TILE, length)
                count = stop - start
                u_t, delta_t, dy_t = u[b, d, start:stop], delta[b, d, start:stop], dy[b, d, start:stop]
                du_t, ddelta_t = du[b, d, start:stop], ddelta[b, d, start:stop]
                B_t, C_t = B[b, start * states : stop * states], C[b, start * states : stop * states]
                dB_t, dC_t = dB[part, b, start * states : stop * states], dC[part, b, start * states : stop * states]

                # The states of this tile once more.
                _steps(delta_t, u_t, bias[d], softplus, dl, dlu, count)
                _decays(dl, A[d], a, count, states)
                _scale(h[after:], dlu, B_t, count, states)
                enters = count * states if reverse else 0
                h[enters : enters + states] = state[b, d, tile]
                _accumulate(h, a, count, states, reverse)

                if gated:
                    z_t, dz_t = z[b, d, start:stop], dz[b, d, start:stop]
                    _dots(dz_t, h[after:], C_t, count, states)
                    for i in range(count):
                        gate = _sigmoid(z_t[i])
                        s = dz_t[i] + D[d] * u_t[i]
                        dz_t[i] = dy_t[i] * s * gate * (_ONE + z_t[i] * (_ONE - gate))
                        ds[i] = dy_t[i] * z_t[i] * gate
                else:
                    ds[:count] = dy_t

                _scale(g, ds, C_t, count, states)
                first, last = ((count - 1) * states, 0) if reverse else (0, (count - 1) * states)
                for n in range(states):
                    g[last + n] += carry[n]
                _accumulate(g, a if reverse else a[states:], count - 1, states, not reverse)
                for n in range(states):
                    carry[n] = a[first + n] * g[first + n]

                _add_scaled(dC_t, ds, h[after:], count, states)
                _add_scaled(dB_t, dlu, g, count, states)
                _dots(xbar, g, B_t, count, states)
                for j in range(count * states):
                    a[j] *= g[j] * h[before + j]  # from here on the gradient of dl A
                _dots_with_row(decay_sum, a, A[d], count, states)
                _add_weighted_sum(gA, dl, a, count, states)

                for i in range(count):
                    du_t[i] = xbar[i] * dl[i] + D[d] * ds[i]
                    ddelta_t[i] = xbar[i] * u_t[i] + decay_sum[i]
                    gD += ds[i] * u_t[i]
                if softplus:
                    for i in range(count):
                        ddelta_t[i] *= _sigmoid(delta_t[i] + bias[d])
                for i in range(count):
                    gbias += ddelta_t[i]
            for n in range(states):
                dA[task, d, n] += gA[n]
            dD[task, d] += gD
            dbias[task, d] += gbias


_ROWS, _TABLE, _VECTOR = "float32[:, :, ::1]", "float32[:, ::1]", "float32[::1]"
_INPUTS = f"{_ROWS}, {_ROWS}, {_TABLE}, {_TABLE}, {_TABLE}, {_VECTOR}, {_ROWS}, {_VECTOR}, boolean, boolean, boolean"
_RANGES = "int64, int64, int64, int64"
_STATE = "float32[:, :, :, ::1]"
_FORWARD_TYPES = f"void({_INPUTS}, boolean, {_ROWS}, {_STATE}, {_RANGES})"
_BACKWARD_TYPES = (
    f"void({_INPUTS}, {_STATE}, {_ROWS}, {_ROWS}, {_ROWS}, float64[:, :, ::1], {_ROWS}, {_ROWS}, float64[:, ::1], "
    f"{_ROWS}, float64[:, ::1], int64, int64, {_RANGES})"
)
