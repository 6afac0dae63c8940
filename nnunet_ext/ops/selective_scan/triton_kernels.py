"""The selective scan as Triton kernels, forward and backward. Importing this module imports triton.

A program walks one segment of one sequence for a block of channels; the state, one row per channel, stays in its
registers. Nothing of size B*D*L*N is written: the forward pass keeps the state of every CHUNK-th step, the backward
pass recomputes the others. There are no atomics, so results are the same every time: what several programs add to is
written in parts, which are summed afterwards.

Glossary; all other symbols, and the equations, are those of `naive`.

| here       | what                                                                                                  |
|------------|-------------------------------------------------------------------------------------------------------|
| K, k       | number of scans in this launch (1 or 2), number of a scan; the second runs against the first          |
| BD, BN     | channels per program; states, rounded up to a power of two (those beyond N stay zero)                 |
| step       | place in the order of the scan; the position is L - 1 - step where the scan runs backwards            |
| row        | place in memory of a position of a sequence, b L + position                                           |
| segment    | `span` steps that one program walks: whole sequences, unless these are too few to fill the GPU        |
| chunk      | CHUNK steps of a segment; the state before each is kept                                               |
| group      | GROUP steps of a chunk, whose states the backward pass holds in registers                             |
| dl         | step size after bias and softplus                                                                     |
| a          | exp(dl A), the decay of one step                                                                      |
| a2         | A log2(e), so that a = 2^(dl a2)                                                                      |
| s          | h C + D u, the output before the gate: y = s silu(z)                                                  |
| ds         | gradient of s                                                                                         |
| g          | gradient of h: C ds + G of the step after                                                             |
| G          | a g, what a step passes on to the state before it                                                     |

In memory sequences are (K, B, L, D) or (K, B, L, N) and parameters (K, D, N) or (K, D), all without gaps, except that
inputs have a stride of their own from scan to scan and from row to row. A segment's sums of dl suffice for its decay,
exp(A sum of dl). A step with dl = 0 changes nothing, which is how groups end early.
"""

import triton
import triton.language as tl

CHUNK = 64
GROUP = 4

_LOG2_E = tl.constexpr(1.4426950408889634)
_LN_2 = tl.constexpr(0.6931471805599453)
_GROUP = tl.constexpr(GROUP)
_ELEMENTS_PER_WARP = 512  # of the state: 16 per thread; with more the backward pass runs out of registers


def block_sizes(states: int) -> tuple[int, int]:
    """Channels BD and states BN of one program, which is one warp."""
    block_n = triton.next_power_of_2(states)
    return max(1, min(32, _ELEMENTS_PER_WARP // block_n)), block_n


@triton.jit
def _softplus(x):  # type: ignore[no-untyped-def]  # Triton's functions have Triton's types, here and below
    """max(x, 0) + log1p(exp(-|x|)), with log1p(e) = 2 atanh(e / (2 + e)): as exact for x = -12 as for x = 12."""
    e = tl.exp(-tl.abs(x))
    r = e / (2 + e)
    q = r * r
    # atanh(r) / r = 1 + q/3 + q^2/5 + ..., at most 2e-8 off for r <= 1/3
    series = 1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11 + q * (1 / 13))))))
    return tl.maximum(x, 0.0) + 2 * r * series


@triton.jit
def _sigmoid(x):  # type: ignore[no-untyped-def]
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _step_size(raw, SOFTPLUS: tl.constexpr):  # type: ignore[no-untyped-def]
    if SOFTPLUS:
        raw = _softplus(raw)
    return raw


@triton.jit
def _per_channel(pointer, k, d, channels, GIVEN: tl.constexpr):  # type: ignore[no-untyped-def]
    """The values (BD) of a parameter (K, D), or zeros if there is none."""
    values = tl.zeros_like(d).to(tl.float32)
    if GIVEN:
        values = tl.load(pointer + k * channels + d, mask=d < channels, other=0.0).to(tl.float32)
    return values


@triton.jit
def forward_kernel(  # type: ignore[no-untyped-def]
    u_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, D_ptr, z_ptr, bias_ptr, entering_ptr, y_ptr, state_ptr,
    u_k, u_r, delta_k, delta_r, B_k, B_r, C_k, C_r, z_k, z_r,
    batch, channels, length, span, segments, reverse,
    SOFTPLUS: tl.constexpr, HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr,
    SAVE: tl.constexpr, CARRIED: tl.constexpr,
    N: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Write y (K, B, L, D), and with SAVE the state (K, B, chunks, D, N) before each chunk.

    With CARRIED, entering (K, B, segments, D, N) is the state before each segment; else segments start with zero.
    """
    blocks = tl.cdiv(channels, BD)
    d = tl.program_id(0) % blocks * BD + tl.arange(0, BD)  # (BD)
    segment = tl.program_id(0) // blocks % segments
    b = (tl.program_id(0) // blocks // segments).to(tl.int64)
    k = tl.program_id(1).to(tl.int64)
    sequence = k * batch + b
    n = tl.arange(0, BN)  # (BN)
    in_d = d < channels  # (BD)
    in_n = n < N  # (BN)
    in_tile = in_d[:, None] & in_n[None, :]  # (BD, BN)
    tile = d[:, None] * N + n[None, :]  # (BD, BN), places within (D, N)

    a2 = tl.load(A_ptr + k * channels * N + tile, mask=in_tile, other=0.0).to(tl.float32) * _LOG2_E  # (BD, BN)
    D = _per_channel(D_ptr, k, d, channels, HAS_D)  # (BD)
    bias = _per_channel(bias_ptr, k, d, channels, HAS_BIAS)  # (BD)
    h = tl.zeros_like(a2)  # (BD, BN)
    if CARRIED:
        h = tl.load(entering_ptr + (sequence * segments + segment) * channels * N + tile, mask=in_tile, other=0.0)

    start = segment * span
    steps = tl.minimum(span, length - start)
    backwards = (reverse + k) % 2
    towards = 1 - 2 * backwards  # the next row, +1 or -1
    row = b * length + tl.where(backwards != 0, length - 1 - start, start)
    u_at = u_ptr + k * u_k + row * u_r
    delta_at = delta_ptr + k * delta_k + row * delta_r
    B_at = B_ptr + k * B_k + row * B_r
    C_at = C_ptr + k * C_k + row * C_r
    y_at = y_ptr + (k * batch * length + row) * channels
    if HAS_Z:
        z_at = z_ptr + k * z_k + row * z_r
    if SAVE:
        state_at = state_ptr + (sequence * tl.cdiv(length, CHUNK) + start // CHUNK) * channels * N
    for chunk in range(tl.cdiv(steps, CHUNK)):
        if SAVE:
            tl.store(state_at + tile, h, mask=in_tile)
            state_at += channels * N
        for _ in range(tl.minimum(CHUNK, steps - chunk * CHUNK)):
            dl = _step_size(tl.load(delta_at + d, mask=in_d, other=0.0).to(tl.float32) + bias, SOFTPLUS)  # (BD)
            u = tl.load(u_at + d, mask=in_d, other=0.0).to(tl.float32)  # (BD)
            B = tl.load(B_at + n, mask=in_n, other=0.0).to(tl.float32)  # (BN)
            C = tl.load(C_at + n, mask=in_n, other=0.0).to(tl.float32)  # (BN)
            h = tl.exp2(dl[:, None] * a2) * h + (dl * u)[:, None] * B[None, :]  # (BD, BN), equation (2a)
            s = tl.sum(h * C[None, :], axis=1) + D * u  # (BD), equation (2b)
            if HAS_Z:
                z = tl.load(z_at + d, mask=in_d, other=0.0).to(tl.float32)  # (BD)
                s = s * z * _sigmoid(z)
                z_at += towards * z_r
            tl.store(y_at + d, s, mask=in_d)
            u_at += towards * u_r
            delta_at += towards * delta_r
            B_at += towards * B_r
            C_at += towards * C_r
            y_at += towards * channels


@triton.jit
def segment_kernel(  # type: ignore[no-untyped-def]
    x_ptr, delta_ptr, A_ptr, V_ptr, z_ptr, bias_ptr, end_ptr, sum_ptr,
    x_k, x_r, delta_k, delta_r, V_k, V_r, z_k, z_r,
    batch, channels, length, span, segments, reverse,
    SOFTPLUS: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr,
    ADJOINT: tl.constexpr, N: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write what each segment adds, end (K, B, segments, D, N), and its sum of dl (K, B, segments, D).

    Forward, x is u, V is B, and a segment adds the state after its last step if zero entered it. With ADJOINT, x is
    dy, V is C, and it adds the G of its first step if zero entered it at its last.
    """
    blocks = tl.cdiv(channels, BD)
    d = tl.program_id(0) % blocks * BD + tl.arange(0, BD)  # (BD)
    segment = tl.program_id(0) // blocks % segments
    b = (tl.program_id(0) // blocks // segments).to(tl.int64)
    k = tl.program_id(1).to(tl.int64)
    n = tl.arange(0, BN)  # (BN)
    in_d = d < channels  # (BD)
    in_n = n < N  # (BN)
    in_tile = in_d[:, None] & in_n[None, :]  # (BD, BN)
    tile = d[:, None] * N + n[None, :]  # (BD, BN)
    a2 = tl.load(A_ptr + k * channels * N + tile, mask=in_tile, other=0.0).to(tl.float32) * _LOG2_E  # (BD, BN)
    bias = _per_channel(bias_ptr, k, d, channels, HAS_BIAS)  # (BD)

    start = segment * span
    steps = tl.minimum(span, length - start)
    backwards = (reverse + k) % 2
    towards = 1 - 2 * backwards
    if ADJOINT:
        start += steps - 1
        towards = -towards
    row = b * length + tl.where(backwards != 0, length - 1 - start, start)
    h = tl.zeros_like(a2)  # (BD, BN), the state or G
    total = tl.zeros_like(bias)  # (BD)
    for _ in range(steps):
        dl = _step_size(
            tl.load(delta_ptr + k * delta_k + row * delta_r + d, mask=in_d, other=0.0).to(tl.float32) + bias, SOFTPLUS
        )  # (BD)
        x = tl.load(x_ptr + k * x_k + row * x_r + d, mask=in_d, other=0.0).to(tl.float32)  # (BD)
        V = tl.load(V_ptr + k * V_k + row * V_r + n, mask=in_n, other=0.0).to(tl.float32)  # (BN)
        a = tl.exp2(dl[:, None] * a2)  # (BD, BN)
        if ADJOINT:
            if HAS_Z:
                z = tl.load(z_ptr + k * z_k + row * z_r + d, mask=in_d, other=0.0).to(tl.float32)  # (BD)
                x = x * z * _sigmoid(z)
            h = a * (h + x[:, None] * V[None, :])
        else:
            h = a * h + (dl * x)[:, None] * V[None, :]
        total += dl
        row += towards
    place = (k * batch + b) * segments + segment
    tl.store(end_ptr + place * channels * N + tile, h, mask=in_tile)
    tl.store(sum_ptr + place * channels + d, total, mask=in_d)


@triton.jit
def carry_kernel(  # type: ignore[no-untyped-def]
    A_ptr, end_ptr, sum_ptr, batch, channels, segments,
    ADJOINT: tl.constexpr, N: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Turn what each segment adds (K, B, segments, D, N) into what enters it, in place."""
    blocks = tl.cdiv(channels, BD)
    d = tl.program_id(0) % blocks * BD + tl.arange(0, BD)  # (BD)
    k = tl.program_id(1).to(tl.int64)
    sequence = k * batch + tl.program_id(0) // blocks
    n = tl.arange(0, BN)  # (BN)
    in_d = d < channels  # (BD)
    in_tile = in_d[:, None] & (n < N)[None, :]  # (BD, BN)
    tile = d[:, None] * N + n[None, :]  # (BD, BN)
    a2 = tl.load(A_ptr + k * channels * N + tile, mask=in_tile, other=0.0).to(tl.float32) * _LOG2_E  # (BD, BN)

    carried = tl.zeros_like(a2)  # (BD, BN)
    for i in range(segments):
        place = sequence * segments + i
        if ADJOINT:
            place = sequence * segments + segments - 1 - i
        end = tl.load(end_ptr + place * channels * N + tile, mask=in_tile, other=0.0)  # (BD, BN)
        total = tl.load(sum_ptr + place * channels + d, mask=in_d, other=0.0)  # (BD)
        tl.store(end_ptr + place * channels * N + tile, carried, mask=in_tile)
        carried = tl.exp2(total[:, None] * a2) * carried + end


@triton.jit
def _advance(  # type: ignore[no-untyped-def]
    h, a2, bias, u_at, delta_at, B_at, u_r, delta_r, B_r, row, d, n, channels, valid,
    N: tl.constexpr, SOFTPLUS: tl.constexpr,
):  # fmt: skip
    """The state (BD, BN) after a step, given the state h before it; a step that is not valid changes nothing."""
    in_d = d < tl.where(valid, channels, 0)  # (BD)
    in_n = n < tl.where(valid, N, 0)  # (BN)
    dl = tl.where(
        in_d,
        _step_size(tl.load(delta_at + row * delta_r + d, mask=in_d, other=0.0).to(tl.float32) + bias, SOFTPLUS),
        0.0,
    )  # (BD)
    u = tl.load(u_at + row * u_r + d, mask=in_d, other=0.0).to(tl.float32)  # (BD)
    B = tl.load(B_at + row * B_r + n, mask=in_n, other=0.0).to(tl.float32)  # (BN)
    return tl.exp2(dl[:, None] * a2) * h + (dl * u)[:, None] * B[None, :]


@triton.jit
def _differentiate_group(  # type: ignore[no-untyped-def]
    h0, G, dA, dD, dbias, a2, D, bias,
    u_at, delta_at, B_at, C_at, z_at, dy_at, du_at, ddelta_at, dB_at, dC_at, dz_at,
    u_r, delta_r, B_r, C_r, z_r, dy_r, row, towards, left, d, n, channels,
    N: tl.constexpr, SOFTPLUS: tl.constexpr, HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Write the gradients of the GROUP steps of a group, last one first; return the new G, dA, dD and dbias.

    h0 is the state before the group, whose first step is `row` rows from the chunk's first; `left` steps of the chunk
    are left. The states have a name each: Triton 3.4 cannot compile a recursion that would hold them.
    """
    tl.static_assert(_GROUP == 4)
    row1, row2, row3 = row + towards, row + 2 * towards, row + 3 * towards
    h1 = _advance(h0, a2, bias, u_at, delta_at, B_at, u_r, delta_r, B_r, row, d, n, channels, left > 0, N, SOFTPLUS)
    h2 = _advance(h1, a2, bias, u_at, delta_at, B_at, u_r, delta_r, B_r, row1, d, n, channels, left > 1, N, SOFTPLUS)
    h3 = _advance(h2, a2, bias, u_at, delta_at, B_at, u_r, delta_r, B_r, row2, d, n, channels, left > 2, N, SOFTPLUS)
    h4 = _advance(h3, a2, bias, u_at, delta_at, B_at, u_r, delta_r, B_r, row3, d, n, channels, left > 3, N, SOFTPLUS)
    after = h4
    for later_steps in tl.static_range(_GROUP):
        before = h0
        if later_steps == 0:
            before = h3
        elif later_steps == 1:
            before = h2
        elif later_steps == 2:
            before = h1
        here = row + (_GROUP - 1 - later_steps) * towards
        valid = left > _GROUP - 1 - later_steps
        # Loaded and computed again instead of kept: registers are what is short, and the loads come from a cache.
        in_d = d < tl.where(valid, channels, 0)  # (BD)
        in_n = n < tl.where(valid, N, 0)  # (BN)
        raw = tl.load(delta_at + here * delta_r + d, mask=in_d, other=0.0).to(tl.float32) + bias  # (BD)
        dl = tl.where(in_d, _step_size(raw, SOFTPLUS), 0.0)  # (BD)
        u = tl.load(u_at + here * u_r + d, mask=in_d, other=0.0).to(tl.float32)  # (BD)
        B = tl.load(B_at + here * B_r + n, mask=in_n, other=0.0).to(tl.float32)  # (BN)
        C = tl.load(C_at + here * C_r + n, mask=in_n, other=0.0).to(tl.float32)  # (BN)
        ds = tl.load(dy_at + here * dy_r + d, mask=in_d, other=0.0).to(tl.float32)  # (BD), gradient of y
        if HAS_Z:
            z = tl.load(z_at + here * z_r + d, mask=in_d, other=0.0).to(tl.float32)  # (BD)
            gate = _sigmoid(z)
            s = tl.sum(after * C[None, :], axis=1) + D * u  # (BD), equation (2b)
            tl.store(dz_at + here * channels + d, ds * s * gate * (1 + z * (1 - gate)), mask=in_d)
            ds = ds * z * gate

        g = G + ds[:, None] * C[None, :]  # (BD, BN)
        tl.store(dC_at + here * N + n, tl.sum(ds[:, None] * after, axis=0), mask=in_n)
        tl.store(dB_at + here * N + n, tl.sum((dl * u)[:, None] * g, axis=0), mask=in_n)
        xbar = tl.sum(g * B[None, :], axis=1)  # (BD), gradient of dl u
        G = tl.exp2(dl[:, None] * a2) * g  # (BD, BN)
        p = G * before  # (BD, BN), gradient of dl A
        dA += p * dl[:, None]
        ddelta = xbar * u + tl.sum(p * a2, axis=1) * _LN_2  # (BD), gradient of dl
        if SOFTPLUS:
            ddelta = ddelta * _sigmoid(raw)
        du = xbar * dl  # (BD)
        if HAS_D:
            du += ds * D
            dD += ds * u
        if HAS_BIAS:
            dbias += tl.where(in_d, ddelta, 0.0)
        tl.store(du_at + here * channels + d, du, mask=in_d)
        tl.store(ddelta_at + here * channels + d, ddelta, mask=in_d)
        after = before
    return G, dA, dD, dbias


@triton.jit
def backward_kernel(  # type: ignore[no-untyped-def]
    u_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, D_ptr, z_ptr, bias_ptr, state_ptr, dy_ptr, entering_ptr, scratch_ptr,
    du_ptr, ddelta_ptr, dA_ptr, dB_ptr, dC_ptr, dD_ptr, dz_ptr, dbias_ptr,
    u_k, u_r, delta_k, delta_r, B_k, B_r, C_k, C_r, z_k, z_r, dy_k, dy_r,
    batch, channels, length, span, segments, workers, reverse,
    SOFTPLUS: tl.constexpr, HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr,
    CARRIED: tl.constexpr, N: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Write du, ddelta, dz (K, B, L, D), and in parts dB, dC (blocks, K, B, L, N), dA (workers, K, D, N), dD, dbias.

    A worker takes every workers-th segment, from its last step to its first; dD and dbias are (workers, K, D). With
    CARRIED, entering (K, B, segments, D, N) is the G that enters each segment at its last step; else that is zero.
    scratch (programs, CHUNK / GROUP, BD, BN) has room for the states before the groups of one chunk, so that only
    those of one group need registers.
    """
    blocks = tl.cdiv(channels, BD)
    block = tl.program_id(0) % blocks
    worker = tl.program_id(0) // blocks
    k = tl.program_id(1).to(tl.int64)
    d = block * BD + tl.arange(0, BD)  # (BD)
    n = tl.arange(0, BN)  # (BN)
    in_d = d < channels  # (BD)
    in_tile = in_d[:, None] & (n < N)[None, :]  # (BD, BN)
    tile = d[:, None] * N + n[None, :]  # (BD, BN), places within (D, N)
    program = k * tl.num_programs(0) + tl.program_id(0)
    scratch_at = scratch_ptr + program * (CHUNK // _GROUP * BD * BN) + tl.arange(0, BD)[:, None] * BN + n[None, :]

    a2 = tl.load(A_ptr + k * channels * N + tile, mask=in_tile, other=0.0).to(tl.float32) * _LOG2_E  # (BD, BN)
    D = _per_channel(D_ptr, k, d, channels, HAS_D)  # (BD)
    bias = _per_channel(bias_ptr, k, d, channels, HAS_BIAS)  # (BD)
    dA = tl.zeros_like(a2)  # (BD, BN)
    dD = tl.zeros_like(bias)  # (BD)
    dbias = tl.zeros_like(bias)  # (BD)

    backwards = (reverse + tl.program_id(1)) % 2
    towards = 1 - 2 * backwards
    first_part = (block * tl.num_programs(1) + k) * batch  # of dB and dC

    for item in range(worker, batch * segments, workers):
        segment = item % segments
        b = (item // segments).to(tl.int64)
        sequence = k * batch + b
        G = tl.zeros_like(a2)  # (BD, BN)
        if CARRIED:
            G = tl.load(
                entering_ptr + (sequence * segments + segment) * channels * N + tile, mask=in_tile, other=0.0
            ).to(tl.float32)
        steps = tl.minimum(span, length - segment * span)
        chunks = tl.cdiv(steps, CHUNK)
        for later_chunks in range(chunks):
            chunk = chunks - 1 - later_chunks
            start = segment * span + chunk * CHUNK
            steps_here = tl.minimum(CHUNK, steps - chunk * CHUNK)
            groups = tl.cdiv(steps_here, _GROUP)
            # Places in memory of the chunk's first step; the offsets within a chunk need no 64 bits.
            position = tl.where(backwards != 0, length - 1 - start, start)
            row = b * length + position
            u_at = u_ptr + k * u_k + row * u_r
            delta_at = delta_ptr + k * delta_k + row * delta_r
            B_at = B_ptr + k * B_k + row * B_r
            C_at = C_ptr + k * C_k + row * C_r
            z_at = z_ptr
            dz_at = dz_ptr
            if HAS_Z:
                z_at = z_ptr + k * z_k + row * z_r
                dz_at = dz_ptr + (sequence * length + position) * channels
            dy_at = dy_ptr + k * dy_k + row * dy_r
            du_at = du_ptr + (sequence * length + position) * channels
            ddelta_at = ddelta_ptr + (sequence * length + position) * channels
            dB_at = dB_ptr + ((first_part + b) * length + position) * N
            dC_at = dC_ptr + ((first_part + b) * length + position) * N

            place = sequence * tl.cdiv(length, CHUNK) + start // CHUNK
            h = tl.load(state_ptr + place * channels * N + tile, mask=in_tile, other=0.0)  # (BD, BN)
            for group in range(groups):
                tl.store(scratch_at + group * (BD * BN), h)
                for j in tl.static_range(_GROUP):
                    i = group * _GROUP + j
                    h = _advance(
                        h, a2, bias, u_at, delta_at, B_at, u_r, delta_r, B_r,
                        i * towards, d, n, channels, i < steps_here, N, SOFTPLUS,
                    )  # fmt: skip
            tl.debug_barrier()  # a thread may read what another one wrote

            for later_groups in range(groups):
                group = groups - 1 - later_groups
                h = tl.load(scratch_at + group * (BD * BN))  # (BD, BN)
                G, dA, dD, dbias = _differentiate_group(
                    h, G, dA, dD, dbias, a2, D, bias,
                    u_at, delta_at, B_at, C_at, z_at, dy_at, du_at, ddelta_at, dB_at, dC_at, dz_at,
                    u_r, delta_r, B_r, C_r, z_r, dy_r, group * _GROUP * towards, towards,
                    steps_here - group * _GROUP, d, n, channels, N, SOFTPLUS, HAS_D, HAS_Z, HAS_BIAS,
                )  # fmt: skip
            tl.debug_barrier()  # before the next chunk's states take the place of this one's

    part = worker * tl.num_programs(1) + k
    tl.store(dA_ptr + part * channels * N + tile, dA, mask=in_tile)
    if HAS_D:
        tl.store(dD_ptr + part * channels + d, dD, mask=in_d)
    if HAS_BIAS:
        tl.store(dbias_ptr + part * channels + d, dbias, mask=in_d)
