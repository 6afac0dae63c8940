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

import numpy as np
from numba import njit

TILE = 64

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


class Kernels(NamedTuple):
    """The compiled kernels for one number of states."""

    forward: Callable[..., None]
    backward: Callable[..., None]


@functools.cache
def kernels(states: int) -> Kernels:
    """The kernels for N states, compiled or from numba's cache; without a cache where none can be written."""
    try:
        return _compile(states, cache=True)
    except (OSError, RuntimeError):
        return _compile(states, cache=False)


def _compile(N: int, cache: bool) -> Kernels:
    """The kernels, with N as a constant, so that the loops over states are unrolled."""
    jit = functools.partial(njit, fastmath=_FAST, error_model="numpy", nogil=True, cache=cache)

    def forward(  # type: ignore[no-untyped-def]  # numba infers the types
        u, delta, A, B, C, D, z, bias, softplus, gated, reverse, save, y, state, b_start, b_stop, d_start, d_stop
    ):
        length = u.shape[2]
        tiles = (length + TILE - 1) // TILE
        a = np.empty((TILE, N), np.float32)
        h = np.empty(N, np.float32)
        dl = np.empty(TILE, np.float32)
        dlu = np.empty(TILE, np.float32)
        s = np.empty(TILE, np.float32)
        for b in range(b_start, b_stop):
            for d in range(d_start, d_stop):
                h[:] = _ZERO
                for k in range(tiles):
                    tile = tiles - 1 - k if reverse else k
                    start = tile * TILE
                    count = min(TILE, length - start)
                    u_t, delta_t = u[b, d, start : start + count], delta[b, d, start : start + count]
                    B_t, C_t = B[b, start : start + count], C[b, start : start + count]
                    if save:
                        state[b, d, tile, :] = h
                    for i in range(count):
                        x = delta_t[i] + bias[d]
                        dl[i] = _softplus(x) if softplus else x
                        dlu[i] = dl[i] * u_t[i]
                    for i in range(count):
                        for n in range(N):
                            a[i, n] = _exp(dl[i] * A[d, n])
                    for step in range(count):
                        i = count - 1 - step if reverse else step
                        total = _ZERO
                        for n in range(N):
                            new = a[i, n] * h[n] + dlu[i] * B_t[i, n]
                            h[n] = new
                            total += new * C_t[i, n]
                        s[i] = total
                    y_t = y[b, d, start : start + count]
                    for i in range(count):
                        y_t[i] = s[i] + D[d] * u_t[i]
                    if gated:
                        z_t = z[b, d, start : start + count]
                        for i in range(count):
                            y_t[i] *= z_t[i] * _sigmoid(z_t[i])

    def backward(  # type: ignore[no-untyped-def]  # numba infers the types
        u, delta, A, B, C, D, z, bias, softplus, gated, reverse, state, dy,
        du, ddelta, dA, dB, dC, dD, dz, dbias, task, part, b_start, b_stop, d_start, d_stop,
    ):  # fmt: skip
        length = u.shape[2]
        tiles = (length + TILE - 1) // TILE
        a = np.empty((TILE, N), np.float32)
        h = np.empty((TILE + 1, N), np.float32)  # the state before each step, in scan order, and after the last
        g = np.empty(N, np.float32)  # the gradient that reaches a step's state from the steps after it
        gA = np.empty(N, np.float32)
        dl = np.empty(TILE, np.float32)
        dlu = np.empty(TILE, np.float32)
        ds = np.empty(TILE, np.float32)
        for b in range(b_start, b_stop):
            for d in range(d_start, d_stop):
                g[:] = _ZERO
                gA[:] = _ZERO
                gD = _ZERO
                gbias = _ZERO
                for k in range(tiles):
                    tile = k if reverse else tiles - 1 - k
                    start = tile * TILE
                    count = min(TILE, length - start)
                    u_t, delta_t = u[b, d, start : start + count], delta[b, d, start : start + count]
                    B_t, C_t = B[b, start : start + count], C[b, start : start + count]
                    dB_t, dC_t = dB[part, b, start : start + count], dC[part, b, start : start + count]
                    dy_t = dy[b, d, start : start + count]
                    du_t, ddelta_t = du[b, d, start : start + count], ddelta[b, d, start : start + count]
                    for i in range(count):
                        x = delta_t[i] + bias[d]
                        dl[i] = _softplus(x) if softplus else x
                        dlu[i] = dl[i] * u_t[i]
                    for i in range(count):
                        for n in range(N):
                            a[i, n] = _exp(dl[i] * A[d, n])
                    h[0, :] = state[b, d, tile, :]
                    for step in range(count):
                        i = count - 1 - step if reverse else step
                        for n in range(N):
                            h[step + 1, n] = a[i, n] * h[step, n] + dlu[i] * B_t[i, n]
                    if gated:
                        z_t, dz_t = z[b, d, start : start + count], dz[b, d, start : start + count]
                        for i in range(count):
                            step = count - 1 - i if reverse else i
                            total = D[d] * u_t[i]
                            for n in range(N):
                                total += h[step + 1, n] * C_t[i, n]
                            dz_t[i] = total
                        for i in range(count):
                            gate = _sigmoid(z_t[i])
                            dz_t[i] *= dy_t[i] * gate * (_ONE + z_t[i] * (_ONE - gate))
                            ds[i] = dy_t[i] * z_t[i] * gate
                    else:
                        ds[:count] = dy_t
                    for back in range(count):
                        step = count - 1 - back
                        i = back if reverse else step
                        xbar = _ZERO
                        decay_sum = _ZERO
                        for n in range(N):
                            gn = g[n] + ds[i] * C_t[i, n]
                            dC_t[i, n] += ds[i] * h[step + 1, n]
                            dB_t[i, n] += gn * dlu[i]
                            xbar += gn * B_t[i, n]
                            gn *= a[i, n]
                            g[n] = gn
                            p = gn * h[step, n]  # the gradient of dl A
                            decay_sum += p * A[d, n]
                            gA[n] += p * dl[i]
                        du_t[i] = xbar * dl[i]
                        ddelta_t[i] = xbar * u_t[i] + decay_sum
                    for i in range(count):
                        du_t[i] += D[d] * ds[i]
                        gD += ds[i] * u_t[i]
                    if softplus:
                        for i in range(count):
                            ddelta_t[i] *= _sigmoid(delta_t[i] + bias[d])
                    for i in range(count):
                        gbias += ddelta_t[i]
                for n in range(N):
                    dA[task, d, n] += gA[n]
                dD[task, d] += gD
                dbias[task, d] += gbias

    return Kernels(jit(_FORWARD)(forward), jit(_BACKWARD)(backward))


_ROWS, _TABLE, _VECTOR = "float32[:, :, ::1]", "float32[:, ::1]", "float32[::1]"
_INPUTS = f"{_ROWS}, {_ROWS}, {_TABLE}, {_ROWS}, {_ROWS}, {_VECTOR}, {_ROWS}, {_VECTOR}, boolean, boolean, boolean"
_PARTS = "float32[:, :, :, ::1]"
_RANGES = "int64, int64, int64, int64"
_FORWARD = f"void({_INPUTS}, boolean, {_ROWS}, {_PARTS}, {_RANGES})"
_BACKWARD = (
    f"void({_INPUTS}, {_PARTS}, {_ROWS}, {_ROWS}, {_ROWS}, float64[:, :, ::1], {_PARTS}, {_PARTS}, float64[:, ::1], "
    f"{_ROWS}, float64[:, ::1], int64, int64, {_RANGES})"
)
