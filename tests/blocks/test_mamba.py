"""The Mamba block against mamba_ssm's."""

import math

import pytest
import torch

from nnunet_ext.blocks import Mamba, MambaDirection

from ..reference import load_reference, relative_error


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 5e-7)])
def test_reference(dtype: torch.dtype, tolerance: float) -> None:
    """A mamba_ssm state dict loads strictly; outputs and all gradients agree (the reference itself is float32)."""
    reference = load_reference("mamba_block")
    block = Mamba(12)
    prefix = "param."
    state = {name.removeprefix(prefix): torch.from_numpy(reference[name]) for name in reference if prefix in name}
    block.load_state_dict(state, strict=True)
    block.to(dtype)
    tokens = torch.from_numpy(reference["input"]).to(dtype).requires_grad_()
    output = block(tokens)
    output.backward(torch.from_numpy(reference["cotangent"]).to(dtype))
    assert output.dtype == dtype
    assert relative_error(output, reference["output"]) <= tolerance
    assert relative_error(tokens.grad, reference["grad_input"]) <= tolerance
    for name, parameter in block.named_parameters():
        assert relative_error(parameter.grad, reference[f"grad.{name}"]) <= tolerance, name


def test_initialisation_is_mamba_ssms() -> None:
    block = Mamba(40, d_state=8, dt_min=0.002, dt_max=0.05)
    assert block.dt_proj.weight.shape == (80, 3)  # ceil(40 / 16)
    assert block.dt_proj.weight.abs().max() <= 3**-0.5
    steps = torch.nn.functional.softplus(block.dt_proj.bias)
    assert 0.002 * 0.999 <= steps.min() < 0.006
    assert 0.02 < steps.max() <= 0.05 * 1.001
    torch.testing.assert_close(block.A_log, torch.arange(1, 9.0).log().expand(80, 8))
    assert (block.D == 1).all()
    assert block.A_log._no_weight_decay
    assert block.D._no_weight_decay
    assert block.conv1d.weight.shape == (80, 1, 4)


def test_options_of_the_initialisation() -> None:
    block = Mamba(16, dt_rank=4, dt_init="constant", dt_scale=2.0, dt_min=1e-5, dt_max=2e-5, dt_init_floor=1e-3)
    assert (block.dt_proj.weight == 1).all()  # 4 ** -0.5 * 2
    torch.testing.assert_close(torch.nn.functional.softplus(block.dt_proj.bias), torch.full((32,), 1e-3))
    with pytest.raises(ValueError, match=r"^dt_init is 'zero', expected 'random' or 'constant'"):
        Mamba(16, dt_init="zero")


@pytest.mark.parametrize("options", [{"conv_bias": False}, {"bias": True}, {"d_conv": 3, "expand": 3, "d_state": 5}])
def test_options_run_and_every_parameter_learns(options: dict[str, int]) -> None:
    block = Mamba(8, **options)
    block(torch.randn(2, 7, 8)).square().sum().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_no_bias_where_none_is_wanted() -> None:
    names = dict(Mamba(8, conv_bias=False).named_parameters())
    assert not {"conv1d.bias", "in_proj.bias", "out_proj.bias"} & names.keys()
    assert {"in_proj.bias", "out_proj.bias"} <= dict(Mamba(8, bias=True).named_parameters()).keys()


def test_direction_is_the_block_without_out_proj() -> None:
    block, direction = Mamba(8), MambaDirection(8)
    state = block.state_dict()
    weight = state.pop("out_proj.weight")
    direction.load_state_dict(state, strict=True)
    tokens = torch.randn(2, 9, 8)
    gated = direction(tokens)
    assert gated.shape == (2, 9, 16)
    torch.testing.assert_close(gated @ weight.t(), block(tokens))


def test_reverse_is_flipping_before_and_after() -> None:
    forward, backward = MambaDirection(8), MambaDirection(8, reverse=True)
    backward.load_state_dict(forward.state_dict())
    tokens = torch.randn(2, 70, 8)
    torch.testing.assert_close(backward(tokens), forward(tokens.flip(1)).flip(1))


def test_token_sees_no_later_token() -> None:
    tokens = torch.randn(1, 12, 8, requires_grad=True)
    Mamba(8)(tokens)[:, 5].sum().backward()
    assert tokens.grad[:, 5].any()
    assert not tokens.grad[:, 6:].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("parameters_too", [False, True])
def test_half_precision(dtype: torch.dtype, parameters_too: bool) -> None:
    """Activations that float16 cannot hold inside the block do no harm to an output that it can."""
    block = Mamba(8)
    with torch.no_grad():
        block.in_proj.weight *= 300
        block.out_proj.weight *= 1e-5
    tokens = torch.randn(2, 9, 8)
    expected = block(tokens)
    if parameters_too:
        block.to(dtype)
    output = block(tokens.to(dtype))
    assert output.dtype == dtype
    assert output.isfinite().all()
    assert relative_error(output, expected) <= (0.02 if dtype == torch.float16 else 0.1)


def test_autocast_changes_nothing() -> None:
    block, tokens = Mamba(8), torch.randn(2, 9, 8)
    expected = block(tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(block(tokens), expected)


def test_one_token_and_no_sequence() -> None:
    block = Mamba(8)
    assert block(torch.randn(2, 1, 8)).shape == (2, 1, 8)
    assert block(torch.randn(0, 5, 8)).shape == (0, 5, 8)


def test_compiles_as_one_graph() -> None:
    torch.compiler.reset()
    block, tokens = Mamba(8), torch.randn(2, 9, 8, requires_grad=True)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = compiled(tokens)
    torch.testing.assert_close(output, block(tokens))
    output.sum().backward()
    assert math.isfinite(tokens.grad.sum())
