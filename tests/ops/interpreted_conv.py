"""The Triton convolution in Triton's interpreter: `test_triton` runs this file in a process of its own."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nnunet_ext.ops import causal_conv1d
from nnunet_ext.ops.causal_conv import triton_cuda, triton_kernels
from nnunet_ext.ops.causal_conv.naive import naive_conv

from ..reference import relative_error

FLOAT32, HALF = 2e-6, {torch.float16: 2e-3, torch.bfloat16: 1e-2}


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So that a few positions and channels are several tiles; and every test must have launched a kernel."""
    monkeypatch.setattr(triton_kernels, "BLOCK_T", 8)
    monkeypatch.setattr(triton_kernels, "BLOCK_D", 4)
    monkeypatch.setattr(triton_cuda, "RESIDENT", 3)  # workers take several tiles each
    launches: list[int] = []
    inner = triton_cuda.rows
    monkeypatch.setattr(triton_cuda, "rows", lambda x: (launches.append(1), inner(x))[1])
    yield
    assert launches


def _inputs(
    length: int = 11, width: int = 4, *, pair: bool = False, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    front = (2,) if pair else ()
    shapes = (2, 5, length), (5, width), (5,)
    return [torch.randn(*front, *shape).to(dtype).requires_grad_() for shape in shapes]


def _oracle(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool) -> Tensor:
    if x.ndim == 3:
        return naive_conv(x, weight, bias, silu, reverse)
    biases = [None, None] if bias is None else bias
    return torch.stack([naive_conv(x[i], weight[i], biases[i], silu, reverse != bool(i)) for i in range(2)])


def _assert_same(
    inputs: list[Tensor], silu: bool = True, reverse: bool = False, gradient_tolerance: float = FLOAT32
) -> None:
    x, weight, *bias = inputs
    y = causal_conv1d(x, weight, *bias, activation="silu" if silu else None, reverse=reverse)
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = _oracle(exact[0], exact[1], exact[2] if bias else None, silu, reverse)
    assert y.dtype == x.dtype
    assert relative_error(y, expected) <= (FLOAT32 if x.dtype == torch.float32 else gradient_tolerance)
    cotangent = torch.randn(y.shape)
    gradients = torch.autograd.grad(y, inputs, cotangent.to(y.dtype))
    exact_gradients = torch.autograd.grad(expected, exact, cotangent.to(y.dtype).double())
    for gradient, other, tensor in zip(gradients, exact_gradients, inputs, strict=True):
        assert gradient.dtype == tensor.dtype
        assert relative_error(gradient, other) <= gradient_tolerance


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize(("length", "width"), [(1, 4), (3, 4), (8, 3), (21, 4), (10, 1), (9, 7)])
def test_equals_the_oracle(length: int, width: int, silu: bool, reverse: bool) -> None:
    _assert_same(_inputs(length, width), silu, reverse)


@pytest.mark.parametrize("reverse", [False, True])
def test_without_bias(reverse: bool) -> None:
    _assert_same(_inputs()[:2], reverse=reverse)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("n_tensors", [2, 3])
def test_pairs(n_tensors: int, reverse: bool) -> None:
    _assert_same(_inputs(pair=True)[:n_tensors], reverse=reverse)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    _assert_same(_inputs(dtype=dtype), gradient_tolerance=HALF[dtype])


def test_strided_inputs() -> None:
    x, weight, bias = _inputs(pair=True)
    beside = x.detach().permute(1, 3, 0, 2).contiguous()  # (B, L, 2, D)
    _assert_same([beside.permute(2, 0, 3, 1).requires_grad_(), weight, bias])
    x, weight, bias = _inputs()
    _assert_same([x.detach()[:1].expand(2, -1, -1).requires_grad_(), weight.detach().flip(0).requires_grad_(), bias])


def test_in_torch() -> None:
    """Operator rules, one graph, checkpointing, and no batch at all."""
    for pair in (False, True):
        x, weight, bias = _inputs(5, pair=pair)
        checks = ("test_schema", "test_autograd_registration", "test_faketensor")
        operator = torch.ops.nnunet_ext.causal_conv1d.default
        torch.library.opcheck(operator, (x, weight, bias, True, False), test_utils=checks)
        torch.compiler.reset()
        compiled = torch.compile(causal_conv1d, fullgraph=True, backend="aot_eager")
        y = causal_conv1d(x, weight, bias, activation="silu")
        expected = torch.autograd.grad(y.sum(), (x, weight, bias))
        for again in (
            compiled(x, weight, bias, activation="silu"),
            checkpoint(lambda *t: causal_conv1d(*t, activation="silu"), x, weight, bias, use_reentrant=False),
        ):
            torch.testing.assert_close(again, y)
            for gradient, other in zip(torch.autograd.grad(again.sum(), (x, weight, bias)), expected, strict=True):
                torch.testing.assert_close(gradient, other)
        empty = causal_conv1d(x[..., :0, :, :], weight, bias)
        assert empty.shape == x[..., :0, :, :].shape
        empty.sum().backward()
        assert weight.grad is not None
        assert not weight.grad.any()
