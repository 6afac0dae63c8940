"""The causal convolution as Triton kernels. Importing this module imports triton.

| here          | what                                                                                    |
|---------------|-----------------------------------------------------------------------------------------|
| K, k          | number of convolutions in this launch (1 or 2), number of one; the second runs the other way |
| BT, BD        | positions and channels of one program                                                   |
| W, w          | width; the weight (BD) of one tap, the last of which belongs to the position itself      |
| shift         | how many positions before (in reverse: after) its own a tap looks, W - 1 - tap          |
| row           | place in memory of a position of a sequence, b L + position                             |
| s             | bias + sum over taps of w x, the output before the SiLU; ds its gradient                |

In memory x and dy are (K, B, L, D) with strides of their own from convolution to convolution and from row to row; all
others are (K, B, L, D), (K, D, W) and (K, D) without gaps.
"""

import triton
import triton.language as tl

BLOCK_T, BLOCK_D = 32, 64


@triton.jit
def _shifted(x_ptr, x_r, b, position, shift, backwards, d, channels, length):  # type: ignore[no-untyped-def]
    """The (BT, BD) of x at the positions that a tap looks at, zero outside the sequence."""
    seen = position + tl.where(backwards != 0, shift, -shift)  # (BT)
    inside = ((seen >= 0) & (seen < length))[:, None] & (d < channels)[None, :]  # (BT, BD)
    rows = b * length + seen  # (BT)
    return tl.load(x_ptr + rows[:, None] * x_r + d[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def forward_kernel(  # type: ignore[no-untyped-def]
    x_ptr, weight_ptr, bias_ptr, y_ptr, x_k, x_r, batch, channels, length, reverse,
    HAS_BIAS: tl.constexpr, SILU: tl.constexpr, W: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """Write y (K, B, L, D)."""
    blocks = tl.cdiv(channels, BD)
    tiles = tl.cdiv(length, BT)
    d = tl.program_id(0) % blocks * BD + tl.arange(0, BD)  # (BD)
    position = tl.program_id(0) // blocks % tiles * BT + tl.arange(0, BT)  # (BT)
    b = (tl.program_id(0) // blocks // tiles).to(tl.int64)
    k = tl.program_id(1).to(tl.int64)
    backwards = (reverse + tl.program_id(1)) % 2
    in_d = d < channels  # (BD)

    s = tl.zeros((BT, BD), tl.float32)
    if HAS_BIAS:
        s += tl.load(bias_ptr + k * channels + d, mask=in_d, other=0.0).to(tl.float32)[None, :]
    for tap in tl.static_range(W):
        w = tl.load(weight_ptr + (k * channels + d) * W + tap, mask=in_d, other=0.0).to(tl.float32)  # (BD)
        s += w[None, :] * _shifted(x_ptr + k * x_k, x_r, b, position, W - 1 - tap, backwards, d, channels, length)
    if SILU:
        s = s * tl.sigmoid(s)
    rows = (k * batch + b) * length + position  # (BT)
    tl.store(
        y_ptr + rows[:, None] * channels + d[None, :], s, mask=(position < length)[:, None] & in_d[None, :]
    )  # fmt: skip


@triton.jit
def backward_kernel(  # type: ignore[no-untyped-def]
    x_ptr, weight_ptr, bias_ptr, dy_ptr, ds_ptr, dweight_ptr, dbias_ptr, x_k, x_r, dy_k, dy_r,
    batch, channels, length, workers, reverse,
    HAS_BIAS: tl.constexpr, SILU: tl.constexpr, W: tl.constexpr, BW: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """Write ds (K, B, L, D), and in parts dweight (workers, K, D, W) and dbias (workers, K, D).

    Each worker takes every workers-th tile of BT positions. The gradient of x is the convolution of ds with the same
    weight in the other direction.
    """
    blocks = tl.cdiv(channels, BD)
    tiles = tl.cdiv(length, BT)
    d = tl.program_id(0) % blocks * BD + tl.arange(0, BD)  # (BD)
    worker = tl.program_id(0) // blocks
    k = tl.program_id(1).to(tl.int64)
    backwards = (reverse + tl.program_id(1)) % 2
    in_d = d < channels  # (BD)
    taps = tl.arange(0, BW)  # (BW)

    bias = tl.zeros((BD,), tl.float32)
    if HAS_BIAS:
        bias = tl.load(bias_ptr + k * channels + d, mask=in_d, other=0.0).to(tl.float32)  # (BD)
    dweight = tl.zeros((BW, BD), tl.float32)
    dbias = tl.zeros((BD,), tl.float32)
    for item in range(worker, batch * tiles, workers):
        position = item % tiles * BT + tl.arange(0, BT)  # (BT)
        b = (item // tiles).to(tl.int64)
        in_tile = (position < length)[:, None] & in_d[None, :]  # (BT, BD)
        rows = b * length + position  # (BT)
        ds = tl.load(dy_ptr + k * dy_k + rows[:, None] * dy_r + d[None, :], mask=in_tile, other=0.0).to(tl.float32)
        if SILU:
            s = tl.zeros((BT, BD), tl.float32) + bias[None, :]
            for tap in tl.static_range(W):
                w = tl.load(weight_ptr + (k * channels + d) * W + tap, mask=in_d, other=0.0).to(tl.float32)  # (BD)
                x = _shifted(x_ptr + k * x_k, x_r, b, position, W - 1 - tap, backwards, d, channels, length)
                s += w[None, :] * x
            gate = tl.sigmoid(s)
            ds = ds * gate * (1 + s * (1 - gate))
        tl.store(ds_ptr + (k * batch * length + rows)[:, None] * channels + d[None, :], ds, mask=in_tile)
        dbias += tl.sum(ds, axis=0)
        for tap in tl.static_range(W):
            x = _shifted(x_ptr + k * x_k, x_r, b, position, W - 1 - tap, backwards, d, channels, length)
            dweight += tl.where((taps == tap)[:, None], tl.sum(ds * x, axis=0)[None, :], 0.0)

    part = worker * tl.num_programs(1) + k
    place = (part * channels + d)[None, :] * W + taps[:, None]  # (BW, BD)
    tl.store(dweight_ptr + place, dweight, mask=(taps < W)[:, None] & in_d[None, :])
    if HAS_BIAS:
        tl.store(dbias_ptr + part * channels + d, dbias, mask=in_d)
