"""The bidirectional block against two blocks and flips, written out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nnunet_ext.blocks import BidirectionalMamba, Mamba
from nnunet_ext.ops.precision import backward_without_autocast

from ..reference import relative_error


def _by_hand(block: BidirectionalMamba, tokens: Tensor) -> Tensor:
    """Flip, run a plain Mamba whose out_proj is the identity, flip back, add, project."""
    width = block.out_proj.in_features
    directions = []
    for direction in (block.mamba_forw, block.mamba_backw):
        plain = Mamba(tokens.shape[-1]).to(tokens.dtype)
        plain.load_state_dict({**direction.state_dict(), "out_proj.weight": plain.out_proj.weight}, strict=True)
        plain.out_proj.weight = torch.nn.Parameter(torch.eye(width, dtype=tokens.dtype))
        directions.append(plain)
    x = block.norm(tokens)
    return block.out_proj(directions[0](x) + directions[1](x.flip(1)).flip(1))


@pytest.mark.parametrize("length", [1, 3, 64, 77])
def test_equals_two_flipped_blocks(length: int) -> None:
    block = BidirectionalMamba(12)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    tokens = torch.randn(2, length, 12, requires_grad=True)
    output, expected = block(tokens), _by_hand(block, tokens)
    assert relative_error(output, expected) <= 2e-6
    cotangent = torch.randn_like(output)
    (gradient,) = torch.autograd.grad(output, tokens, cotangent)
    (expected_gradient,) = torch.autograd.grad(expected, tokens, cotangent)
    assert relative_error(gradient, expected_gradient) <= 2e-6


def test_float64() -> None:
    block, tokens = BidirectionalMamba(12).double(), torch.randn(2, 20, 12, dtype=torch.float64)
    output = block(tokens)
    assert output.dtype == torch.float64
    assert relative_error(output, _by_hand(block, tokens)) <= 1e-13


@pytest.mark.parametrize("channels", [8, 16, 33, 64])
def test_parameters_are_as_many_as_published(channels: int) -> None:
    rank = -(-channels // 16)
    expected = 10 * channels**2 + 222 * channels + 8 * channels * rank
    assert sum(parameter.numel() for parameter in BidirectionalMamba(channels).parameters()) == expected


def test_names() -> None:
    assert {name for name, _ in BidirectionalMamba(8).named_children()} == {
        "norm",
        "mamba_forw",
        "mamba_backw",
        "out_proj",
    }
    one_way = BidirectionalMamba(8, bidirectional=False)
    assert {name.split(".")[0] for name in one_way.state_dict()} == {"norm", "mamba_forw", "out_proj"}
    assert one_way(torch.randn(2, 5, 8)).shape == (2, 5, 8)


def test_every_parameter_learns() -> None:
    block = BidirectionalMamba(8)
    block(torch.randn(2, 7, 8)).square().sum().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_there_is_no_residual() -> None:
    block = BidirectionalMamba(8)
    torch.nn.init.zeros_(block.out_proj.weight)
    assert not block(torch.randn(2, 7, 8)).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("parameters_too", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision(dtype: torch.dtype, parameters_too: bool, autocast: bool) -> None:
    block, tokens = BidirectionalMamba(8), 100 * torch.randn(2, 30, 8)
    expected = block(tokens)
    if parameters_too:
        block.to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output = block(tokens.to(dtype))
    assert output.dtype == dtype
    assert relative_error(output, expected) <= (5e-3 if dtype == torch.float16 else 4e-2)
    output.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in block.parameters())


def test_autocast_changes_nothing() -> None:
    block, tokens = BidirectionalMamba(8), torch.randn(2, 9, 8)
    expected = block(tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(block(tokens), expected)


def test_compiles_as_one_graph_and_recomputes() -> None:
    torch.compiler.reset()
    block, tokens = BidirectionalMamba(8), torch.randn(2, 9, 8, requires_grad=True)
    (expected,) = torch.autograd.grad(block(tokens).sum(), tokens)
    (recomputed,) = torch.autograd.grad(checkpoint(block, tokens, use_reentrant=False).sum(), tokens)
    assert torch.equal(recomputed, expected)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    (gradient,) = torch.autograd.grad(compiled(tokens).sum(), tokens)
    torch.testing.assert_close(gradient, expected)


def test_layer_norm_is_applied_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    layer_norm, seen = F.layer_norm, []

    def spy(x: torch.Tensor, *arguments: Any) -> torch.Tensor:
        seen.append(x.dtype)
        return layer_norm(x, *arguments)

    monkeypatch.setattr(F, "layer_norm", spy)
    assert BidirectionalMamba(8).half()(torch.randn(1, 4, 8).half()).isfinite().all()
    assert seen == [torch.float32]


def test_compiled_gradients_are_as_precise_as_those_of_eager_pytorch() -> None:
    """Under autocast, with outputs scaled as a gradient scaler begins; torch.compile's own way is not finite here."""
    config = torch._functorch.config
    if not hasattr(config, "backward_pass_autocast"):
        pytest.skip(f"torch {torch.__version__} has no choice of autocast in compiled backward passes")
    torch.manual_seed(0)
    block, tokens = BidirectionalMamba(16), torch.randn(2, 20, 16, requires_grad=True)
    torch.compiler.reset()
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")

    def gradients(run: Callable[[torch.Tensor], torch.Tensor]) -> tuple[torch.Tensor, ...]:
        with torch.autocast("cpu", torch.float16):
            output = run(tokens)
        return torch.autograd.grad(65536 * output.float().sum(), [tokens, *block.parameters()])

    with config.patch(backward_pass_autocast="same_as_forward"):
        backward_without_autocast()
        for gradient, expected in zip(gradients(compiled), gradients(block), strict=True):
            assert gradient.isfinite().all()
            torch.testing.assert_close(gradient, expected)
