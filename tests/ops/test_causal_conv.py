"""The causal convolution against its oracle."""

import pytest
import torch
from torch import Tensor

from nnunet_ext.ops import causal_conv1d
from nnunet_ext.ops.causal_conv.naive import naive_conv

from ..reference import relative_error


def _inputs(length: int, width: int, bias: bool, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    tensors = [torch.randn(2, 3, length), torch.randn(3, width), *([torch.randn(3)] if bias else [])]
    return [tensor.to(dtype).requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("width", [1, 2, 4, 7])
@pytest.mark.parametrize("length", [1, 3, 4, 50])
def test_equals_the_oracle(length: int, width: int, bias: bool, activation: str | None, reverse: bool) -> None:
    inputs = _inputs(length, width, bias)
    x, weight, *rest = inputs
    y = causal_conv1d(x, weight, *rest, activation=activation, reverse=reverse)
    expected = naive_conv(x, weight, rest[0] if bias else None, activation == "silu", reverse)
    assert relative_error(y, expected) <= 1e-14
    cotangent = torch.randn_like(y)
    for gradient, other in zip(
        torch.autograd.grad(y, inputs, cotangent), torch.autograd.grad(expected, inputs, cotangent), strict=True
    ):
        assert relative_error(gradient, other) <= 1e-13


@pytest.mark.parametrize("length", [2, 20])
def test_reverse_is_flipping_before_and_after(length: int) -> None:
    x, weight, bias = _inputs(length, 4, bias=True)
    y = causal_conv1d(x, weight, bias, activation="silu", reverse=True)
    flipped = causal_conv1d(x.flip(-1), weight, bias, activation="silu").flip(-1)
    torch.testing.assert_close(y, flipped)


def test_output_sees_no_later_position() -> None:
    x, weight, bias = _inputs(20, 4, bias=True)
    causal_conv1d(x, weight, bias)[..., 10].sum().backward()
    assert x.grad.abs().sum((0, 1)).nonzero().flatten().tolist() == [7, 8, 9, 10]
    x.grad = None
    causal_conv1d(x, weight, bias, reverse=True)[..., 10].sum().backward()
    assert x.grad.abs().sum((0, 1)).nonzero().flatten().tolist() == [10, 11, 12, 13]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    x, weight, bias = _inputs(50, 4, bias=True, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = causal_conv1d(x, weight, bias, activation="silu")
    exact = naive_conv(x.double(), weight.double(), bias.double(), True, False)
    assert y.dtype == dtype
    assert relative_error(y, exact) <= {torch.float16: 5e-4, torch.bfloat16: 4e-3, torch.float32: 2e-7}[dtype]
    y.sum().backward()
    assert weight.grad.dtype == dtype


def test_gradcheck() -> None:
    x, weight, bias = _inputs(5, 4, bias=True)
    assert torch.autograd.gradcheck(
        lambda *tensors: causal_conv1d(*tensors, activation="silu", reverse=True), (x, weight, bias)
    )


def test_empty_batch_and_compile() -> None:
    x, weight, bias = _inputs(5, 4, bias=True)
    assert causal_conv1d(x[:0], weight, bias).shape == (0, 3, 5)
    compiled = torch.compile(causal_conv1d, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, weight, bias, reverse=True), causal_conv1d(x, weight, bias, reverse=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3, 5), torch.zeros(3, 4)), r"^x has shape \(3, 5\), expected \(B, D, L\)"),
        ((torch.zeros(2, 3, 5), torch.zeros(3, 1, 4)), r"^weight has shape .* expected \(D, W\) = \(3, W\)"),
        ((torch.zeros(2, 3, 5), torch.zeros(3, 4), torch.zeros(4)), r"^bias has shape .* expected \(D\) = \(3,\)"),
    ],
)
def test_wrong_shapes_are_named(arguments: tuple[Tensor, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        causal_conv1d(*arguments)


def test_unknown_activation() -> None:
    with pytest.raises(ValueError, match=r"^activation is 'relu', expected 'silu' or None"):
        causal_conv1d(torch.zeros(2, 3, 5), torch.zeros(3, 4), activation="relu")


def test_other_dtypes_and_devices_are_named() -> None:
    x, weight, bias = torch.zeros(2, 3, 5), torch.zeros(3, 4), torch.zeros(3)
    with pytest.raises(ValueError, match=r"^weight of shape \(3, 4\) has dtype torch.int64, expected float16"):
        causal_conv1d(x, weight.long(), bias)
    with pytest.raises(ValueError, match=r"^bias of shape \(3,\) is on meta, expected cpu, where x is"):
        causal_conv1d(x, weight, bias.to("meta"))
