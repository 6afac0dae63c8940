"""The selective scan compiled for the CPU by numba. Importing this module imports numba.

One kernel works off a range of sequences and channels, without the GIL; `numba_cpu` runs several in threads. A block of
WIDTH channels of one sequence is walked step by step. Its channels lie side by side in memory, so that every loop over
them vectorises, sums over states need no additions across a vector, and all inputs are read as the matrix products
before the scan have written them. The backward pass computes the states once more, tile by tile of TILE steps.
Everything is float32. Symbols are those of `naive`; sequences come as (B, L, D) and (B, L, N), A as (N, D).
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import njit

from nnunet_ext.cache import cache_folder

TILE = 32
WIDTH = 64

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


# The helpers below work on the `width` channels of one block. They are short on purpose: LLVM checks at run time that
# what a loop writes does not overlap what it reads, and leaves a loop with more than eight such checks unvectorised.
# The width is an argument on purpose, too: loops of constant length would be unrolled before the vectoriser sees them,
# and numba leaves off the pass that vectorises unrolled code.
_helper = functools.partial(njit, fastmath=_FAST, error_model="numpy", nogil=True)


@_helper()
def _begin_step(delta: Any, u: Any, bias: Any, D: Any, softplus: Any, dl: Any, dlu: Any, s: Any, width: Any) -> None:
    """Step sizes dl, dl u, and D u."""
    for d in range(width):
        x = delta[d] + bias[d]
        dl[d] = _softplus(x) if softplus else x
    for d in range(width):
        dlu[d] = dl[d] * u[d]
        s[d] = D[d] * u[d]


@_helper()
def _advance(h: Any, A: Any, dl: Any, dlu: Any, b: Any, c: Any, s: Any, width: Any) -> None:
    """One step of the states h, in place; adds c h to s."""
    for d in range(width):
        after = _exp(dl[d] * A[d]) * h[d] + dlu[d] * b
        h[d] = after
        s[d] += c * after


@_helper()
def _gate(y: Any, s: Any, z: Any, width: Any) -> None:
    """The output: y = s silu(z)."""
    for d in range(width):
        y[d] = s[d] * z[d] * _sigmoid(z[d])


@_helper()
def _differentiate_gate(dz: Any, ds: Any, dy: Any, s: Any, z: Any, width: Any) -> None:
    """The gradients of z and s."""
    for d in range(width):
        gate = _sigmoid(z[d])
        dz[d] = dy[d] * s[d] * gate * (_ONE + z[d] * (_ONE - gate))
        ds[d] = dy[d] * z[d] * gate


@_helper()
def _advance_and_keep(h: Any, a: Any, i: Any, A: Any, dl: Any, dlu: Any, B: Any, C: Any, s: Any, width: Any) -> None:
    """Step i of a tile: the decays a[i], and from the states h[i] before it those after it; adds C h to s."""
    for n in range(len(B)):
        for d in range(width):
            a[i, n, d] = _exp(dl[i, d] * A[n, d])
        b, c = B[n], C[n]
        for d in range(width):
            after = a[i, n, d] * h[i, n, d] + dlu[i, d] * b
            h[i + 1, n, d] = after
            s[d] += c * after


@_helper()
def _retreat(
    g: Any, h: Any, a: Any, i: Any, A: Any, dl: Any, dlu: Any, ds: Any, B: Any, C: Any,
    xbar: Any, ddl: Any, dA: Any, dB: Any, dC: Any, width: Any,
) -> None:  # fmt: skip
    """Step i of a tile backwards.

    Turns g, what later steps contribute to the gradient of the states after this one, into that of those before it.
    Adds to the gradients of dl u (xbar), dl, A, B and C.
    """
    for n in range(len(B)):
        b, c = B[n], C[n]
        for d in range(width):
            g[n, d] += ds[i, d] * c
            xbar[d] += g[n, d] * b
        to_b, to_c = _ZERO, _ZERO
        for d in range(width):
            to_b += g[n, d] * dlu[i, d]
            to_c += ds[i, d] * h[i + 1, n, d]
        dB[n] += to_b
        dC[n] += to_c
        for d in range(width):
            g[n, d] *= a[i, n, d]
            a[i, n, d] = g[n, d] * h[i, n, d]  # from here on the gradient of dl A
        for d in range(width):
            dA[n, d] += a[i, n, d] * dl[i, d]
            ddl[d] += a[i, n, d] * A[n, d]


@_helper()
def _end_step(
    xbar: Any, dl: Any, ds: Any, u: Any, delta: Any, bias: Any, D: Any, softplus: Any,
    du: Any, ddl: Any, ddelta: Any, dD: Any, dbias: Any, width: Any,
) -> None:  # fmt: skip
    """Write du and ddelta; add to dD and dbias."""
    for d in range(width):
        du[d] = xbar[d] * dl[d] + D[d] * ds[d]
    for d in range(width):
        ddl[d] += xbar[d] * u[d]
        dD[d] += ds[d] * u[d]
    for d in range(width):
        x = delta[d] + bias[d]
        ddelta[d] = ddl[d] * _sigmoid(x) if softplus else ddl[d]
    for d in range(width):
        dbias[d] += ddelta[d]


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
    """Write y (B, L, D), and with `save` the state (B, tiles, N, D) that enters each tile."""
    length, states = u.shape[1], A.shape[0]
    h = np.empty((states, WIDTH), np.float32)
    dl, dlu, s = np.empty(WIDTH, np.float32), np.empty(WIDTH, np.float32), np.empty(WIDTH, np.float32)
    for b in range(b_start, b_stop):
        for low in range(d_start, d_stop, WIDTH):
            high = min(low + WIDTH, d_stop)
            width = high - low
            h[:] = _ZERO
            for step in range(length):
                t = length - 1 - step if reverse else step
                if save and step % TILE == 0:
                    for n in range(states):
                        state[b, step // TILE, n, low:high] = h[n, :width]
                _begin_step(
                    delta[b, t, low:high], u[b, t, low:high], bias[low:high], D[low:high], softplus, dl, dlu, s, width
                )
                for n in range(states):
                    _advance(h[n], A[n, low:high], dl, dlu, B[b, t, n], C[b, t, n], s, width)
                if gated:
                    _gate(y[b, t, low:high], s, z[b, t, low:high], width)
                else:
                    y[b, t, low:high] = s[:width]


def _backward(  # type: ignore[no-untyped-def]  # numba infers the types
    u, delta, A, B, C, D, z, bias, softplus, gated, reverse, state, dy,
    du, ddelta, dA, dB, dC, dD, dz, dbias, task, part, b_start, b_stop, d_start, d_stop,
):  # fmt: skip
    """Write du, ddelta, dz (B, L, D); add to dA (tasks, N, D), dD, dbias (tasks, D) and dB, dC (parts, B, L, N)."""
    length, states = u.shape[1], A.shape[0]
    # Of each step of a tile; h has the state before the first one as well.
    dl, dlu = np.empty((TILE, WIDTH), np.float32), np.empty((TILE, WIDTH), np.float32)
    ds = np.empty((TILE, WIDTH), np.float32)
    a = np.empty((TILE, states, WIDTH), np.float32)
    h = np.empty((TILE + 1, states, WIDTH), np.float32)
    s, xbar, ddl = np.empty(WIDTH, np.float32), np.empty(WIDTH, np.float32), np.empty(WIDTH, np.float32)
    g, A_d = np.empty((states, WIDTH), np.float32), np.empty((states, WIDTH), np.float32)
    # Sums over one tile, which are added up in float64.
    gA = np.empty((states, WIDTH), np.float32)
    gD, gbias = np.empty(WIDTH, np.float32), np.empty(WIDTH, np.float32)
    for b in range(b_start, b_stop):
        for low in range(d_start, d_stop, WIDTH):
            high = min(low + WIDTH, d_stop)
            width = high - low
            D_d, bias_d = D[low:high], bias[low:high]
            A_d[:, :width] = A[:, low:high]
            g[:] = _ZERO
            for tile in range((length - 1) // TILE, -1, -1):
                first = tile * TILE
                count = min(TILE, length - first)

                # The states of this tile once more.
                h[0, :, :width] = state[b, tile, :, low:high]
                for i in range(count):
                    t = length - 1 - first - i if reverse else first + i
                    u_t = u[b, t, low:high]
                    _begin_step(delta[b, t, low:high], u_t, bias_d, D_d, softplus, dl[i], dlu[i], s, width)
                    _advance_and_keep(h, a, i, A_d, dl, dlu, B[b, t], C[b, t], s, width)
                    if gated:
                        z_t, dz_t = z[b, t, low:high], dz[b, t, low:high]
                        _differentiate_gate(dz_t, ds[i], dy[b, t, low:high], s, z_t, width)
                    else:
                        ds[i, :width] = dy[b, t, low:high]

                gA[:] = _ZERO
                gD[:] = _ZERO
                gbias[:] = _ZERO
                for i in range(count - 1, -1, -1):
                    t = length - 1 - first - i if reverse else first + i
                    xbar[:] = _ZERO
                    ddl[:] = _ZERO
                    _retreat(
                        g, h, a, i, A_d, dl, dlu, ds, B[b, t], C[b, t],
                        xbar, ddl, gA, dB[part, b, t], dC[part, b, t], width,
                    )  # fmt: skip
                    _end_step(
                        xbar, dl[i], ds[i], u[b, t, low:high], delta[b, t, low:high], bias_d, D_d, softplus,
                        du[b, t, low:high], ddl, ddelta[b, t, low:high], gD, gbias, width,
                    )  # fmt: skip
                for n in range(states):
                    for d in range(width):
                        dA[task, n, low + d] += gA[n, d]
                for d in range(width):
                    dD[task, low + d] += gD[d]
                    dbias[task, low + d] += gbias[d]


_ROWS, _TABLE, _VECTOR = "float32[:, :, ::1]", "float32[:, ::1]", "float32[::1]"
_INPUTS = f"{_ROWS}, {_ROWS}, {_TABLE}, {_ROWS}, {_ROWS}, {_VECTOR}, {_ROWS}, {_VECTOR}, boolean, boolean, boolean"
_RANGES = "int64, int64, int64, int64"
_STATE = "float32[:, :, :, ::1]"
_FORWARD_TYPES = f"void({_INPUTS}, boolean, {_ROWS}, {_STATE}, {_RANGES})"
_BACKWARD_TYPES = (
    f"void({_INPUTS}, {_STATE}, {_ROWS}, {_ROWS}, {_ROWS}, float64[:, :, ::1], {_STATE}, {_STATE}, float64[:, ::1], "
    f"{_ROWS}, float64[:, ::1], int64, int64, {_RANGES})"
)
