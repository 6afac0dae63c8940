"""The Triton kernels in Triton's interpreter: `test_triton` runs this file in a process of its own.

The interpreter takes about ten milliseconds per step and program, so sequences are short, and chunks shorter than on a
GPU: with chunks of 8 steps, 19 steps are three chunks.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from nnunet_ext.blocks import BidirectionalMamba
from nnunet_ext.blocks.meta_ssm import MetaSSM, Share, SSMOptions
from nnunet_ext.ops import available_backends, selective_scan
from nnunet_ext.ops.selective_scan import self_check, torch_ops, triton_cuda, triton_kernels
from nnunet_ext.ops.selective_scan.backend import ScanGradients, ScanInputs

from ..reference import relative_error
from .scans import OPTIONAL, Inputs, assert_same_scan, make_inputs, run_scan

FLOAT32, HALF = 2e-6, {torch.float16: 2e-3, torch.bfloat16: 1e-2}
directions = pytest.mark.parametrize("reverse", [False, True])


@pytest.fixture(autouse=True, scope="module")
def _short_chunks() -> Iterator[None]:
    usual, triton_kernels.CHUNK = triton_kernels.CHUNK, 8
    yield
    triton_kernels.CHUNK = usual


def _small(length: int = 11, **options: object) -> Inputs:
    return make_inputs(**{"batch": 1, "channels": 5, "states": 3, "length": length, **options})  # type: ignore[arg-type]


def _pair(**options: object) -> Inputs:
    scans = [_small(**{**options, "seed": seed}) for seed in (1, 2)]
    return {name: torch.stack([scan[name].detach() for scan in scans]).requires_grad_() for name in scans[0]}


def test_is_the_interpreter() -> None:
    assert available_backends("cpu")[0] == "triton"


@directions
@pytest.mark.parametrize("states", [1, 3, 16])
@pytest.mark.parametrize("length", [1, 8, 19])
def test_lengths_and_states(length: int, states: int, reverse: bool) -> None:
    assert_same_scan(_small(length, states=states), "triton", FLOAT32, reverse=reverse)


@pytest.mark.parametrize("factor", [1, 1.01, float("nan")])
def test_the_check_before_use_finds_wrong_results(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    right = triton_cuda.TritonBackend.backward

    def changed(self: triton_cuda.TritonBackend, *arguments: Any) -> ScanGradients:
        gradients = right(self, *arguments)
        return gradients._replace(B=factor * gradients.B)

    monkeypatch.setattr(triton_cuda.TritonBackend, "backward", changed)
    reason = self_check.check(triton_cuda.TritonBackend(), "cpu", [(1, 3, 9)])
    assert (reason is None) == (factor == 1)
    assert reason is None or reason.startswith("the gradient of B of shape (2, 1, 3, 9) differs")


def test_the_check_before_use_is_made_with_real_tensors() -> None:
    """The first scan of a process may be one of shapes alone, or one that torch.export records."""
    with FakeTensorMode():
        assert self_check.check(triton_cuda.TritonBackend(), "cpu", [(1, 2, 3)]) is None


def test_usual_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_kernels, "CHUNK", 64)
    assert_same_scan(_small(70), "triton", FLOAT32)


def test_several_blocks_of_channels() -> None:
    assert triton_kernels.block_sizes(16) == (32, 16)
    assert_same_scan(_small(channels=35, states=16), "triton", FLOAT32)


@pytest.mark.parametrize("states", [33, 64, 256])
def test_many_states(states: int) -> None:
    assert_same_scan(_small(3, states=states, channels=9), "triton", FLOAT32)


@directions
@pytest.mark.parametrize("segments", [1, 2, 3])
def test_segments(segments: int, reverse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sequences in pieces that are scanned at the same time, and workers that take several pieces."""
    chosen: list[int] = []

    def plan(*_: int) -> triton_cuda.Plan:
        chosen.append(segments)
        return triton_cuda.Plan(blocks=1, span={1: 24, 2: 16, 3: 8}[segments], segments=segments, workers=2)

    monkeypatch.setattr(triton_cuda, "make_plan", plan)
    assert_same_scan(_small(20, batch=3, channels=2), "triton", FLOAT32, reverse=reverse)
    assert chosen


@pytest.mark.parametrize("softplus", [False, True])
@pytest.mark.parametrize("without", [OPTIONAL, *((name,) for name in OPTIONAL)], ids="-".join)
def test_optional_arguments(without: tuple[str, ...], softplus: bool) -> None:
    inputs = _small(9, without=without)
    if not softplus:
        for name in {"delta", "delta_bias"} & inputs.keys():
            inputs[name] = inputs[name].detach().abs() * 0.1  # step sizes are positive
    assert_same_scan(inputs, "triton", FLOAT32, delta_softplus=softplus)


@directions
def test_large_decay_is_finite_and_exact(reverse: bool) -> None:
    assert_same_scan(_small(30, large_decay=True, states=16), "triton", FLOAT32, reverse=reverse)


def test_growing_states() -> None:
    inputs = _small(20)
    inputs["A"] = inputs["A"].detach().abs() * 0.1
    assert_same_scan(inputs, "triton", FLOAT32)


def test_softplus_of_small_step_sizes() -> None:
    """y = softplus(delta) for D = C = B = u = 1 and one step: log(1 + exp(x)) in float32 is 1 % off at -12."""
    delta = torch.linspace(-12, 25, 64).view(1, -1, 1)  # a channel each
    ones = torch.ones(1, 64, 1)
    y = selective_scan(
        ones, delta, -ones[0], ones[:, :1], ones[:, :1], delta_softplus=True, backend="triton"
    )  # fmt: skip
    torch.testing.assert_close(y.double(), torch.nn.functional.softplus(delta.double()), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_give_float32(dtype: torch.dtype) -> None:
    inputs = _small(dtype=dtype)
    assert run_scan(inputs, "triton")[0].dtype == torch.float32
    assert_same_scan(inputs, "triton", FLOAT32, HALF[dtype])  # only the gradients are rounded to half precision


def test_mixed_dtypes() -> None:
    inputs = _small()
    for name, dtype in {"u": torch.float16, "B": torch.bfloat16, "z": torch.bfloat16, "D": torch.float16}.items():
        inputs[name] = inputs[name].detach().to(dtype)
    assert_same_scan(inputs, "triton", FLOAT32, HALF[torch.bfloat16])


@directions
def test_strided_inputs(reverse: bool) -> None:
    """Channels side by side in memory, with gaps between rows; expanded; transposed."""
    inputs = _small(batch=2)
    for name in ("u", "z", "B", "C"):
        rows = inputs[name].detach().transpose(1, 2)  # (B, L, D)
        inputs[name] = torch.cat([rows, torch.full_like(rows, torch.nan)], -1)[..., : rows.shape[-1]].transpose(1, 2)
        assert not inputs[name].transpose(1, 2).is_contiguous()
    inputs["delta"] = inputs["delta"].detach()[:1].expand(2, -1, -1)
    inputs["A"] = inputs["A"].detach().t().contiguous().t()
    inputs["D"] = inputs["D"].detach()[:1].expand(5)
    assert_same_scan(inputs, "triton", FLOAT32, reverse=reverse)


@directions
@pytest.mark.parametrize("length", [7, 19])
def test_pairs(length: int, reverse: bool) -> None:
    assert_same_scan(_pair(length=length, batch=2), "triton", FLOAT32, reverse=reverse)


def test_pair_of_views() -> None:
    """As a bidirectional block has them: both directions side by side in every row."""
    inputs = _pair(batch=2)
    for name in ("u", "delta", "z", "B", "C"):
        beside = inputs[name].detach().permute(1, 3, 0, 2).contiguous()  # (B, L, 2, D)
        inputs[name] = beside.permute(2, 0, 3, 1)
    assert_same_scan(inputs, "triton", FLOAT32)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 40),
    states=st.integers(1, 20),
    length=st.integers(1, 18),
    reverse=st.booleans(),
    large_decay=st.booleans(),
    without=st.sets(st.sampled_from(OPTIONAL)),
    seed=st.integers(0, 99),
)
def test_any_shape(
    batch: int,
    channels: int,
    states: int,
    length: int,
    reverse: bool,
    large_decay: bool,
    without: set[str],
    seed: int,
) -> None:
    inputs = make_inputs(batch, channels, states, length, large_decay=large_decay, without=without, seed=seed)
    # A single number can be the small difference of large ones, which costs digits that the norm of many does not show.
    assert_same_scan(inputs, "triton", 1e-5, 1e-4, reverse=reverse)


def test_empty_batch() -> None:
    for inputs in (_small(batch=0), _pair(batch=0)):
        y, gradients = run_scan(inputs, "triton")
        assert y.shape == inputs["u"].shape
        for name, gradient in gradients.items():
            assert gradient.shape == inputs[name].shape
            assert not gradient.any()


def test_nan_and_infinity_come_out() -> None:
    """Gradient scalers look for them."""
    for bad, names in {float("nan"): ("u", "delta", "A", "B", "C", "D", "z"), float("inf"): ("u", "B", "C")}.items():
        for name in names:
            inputs = {key: tensor.detach() for key, tensor in _small(3).items()}
            inputs[name].view(-1)[0] = bad
            assert not selective_scan(**inputs, delta_softplus=True, backend="triton").isfinite().all(), name
    inputs = _small(3)
    y = selective_scan(**inputs, delta_softplus=True, backend="triton")
    y.backward(torch.full_like(y, float("nan")))
    assert all(tensor.grad is not None and tensor.grad.isnan().any() for tensor in inputs.values())


def test_same_result_every_time() -> None:
    first, again = (run_scan(_small(19, batch=2), "triton") for _ in range(2))
    assert torch.equal(first[0], again[0])
    for name, gradient in first[1].items():
        assert torch.equal(gradient, again[1][name]), name


def test_float64_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"'triton' .* float32, and an input is float64"):
        selective_scan(**_small(dtype=torch.float64), backend="triton")


@pytest.mark.parametrize("without", [(), OPTIONAL], ids=["all", "none"])
def test_operator_rules(without: tuple[str, ...]) -> None:
    for make in (_small, _pair):
        inputs = make(length=3, without=without, dtype=torch.bfloat16)
        arguments = ScanInputs(*(inputs.get(name) for name in ScanInputs._fields[:8]), True, False)  # type: ignore[arg-type]
        operator = torch.ops.nnunet_ext.scan_forward.default
        torch.library.opcheck(
            operator, (*arguments, True, "triton"), test_utils=("test_schema", "test_faketensor"), atol=1e-4, rtol=1e-4
        )
        detached = [t.detach() if isinstance(t, torch.Tensor) else t for t in arguments]
        y, state = torch_ops.scan_forward(*detached, True, "triton")
        assert y.transpose(-1, -2).is_contiguous()  # as the matrix product that follows wants it
        backward = torch.ops.nnunet_ext.scan_backward.default
        torch.library.opcheck(
            backward, (torch.ones_like(y), state, *detached, "triton"), test_utils=("test_schema", "test_faketensor")
        )


@pytest.mark.parametrize("dynamic", [None, True])
def test_compiles_as_one_graph(dynamic: bool | None) -> None:
    torch.compiler.reset()

    def scan(**inputs: torch.Tensor) -> torch.Tensor:
        return 2 * selective_scan(**inputs, delta_softplus=True, reverse=True, backend="triton")

    compiled = torch.compile(scan, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for inputs in (_small(4), _pair(length=3)):
        expected = torch.autograd.grad(scan(**inputs).sum(), list(inputs.values()))
        compiled(**inputs).sum().backward()
        for tensor, gradient in zip(inputs.values(), expected, strict=True):
            torch.testing.assert_close(tensor.grad, gradient)


def test_activation_checkpointing() -> None:
    inputs = _small(4)
    names = list(inputs)

    def scan(*tensors: torch.Tensor) -> torch.Tensor:
        return selective_scan(**dict(zip(names, tensors, strict=True)), delta_softplus=True, backend="triton")

    expected = torch.autograd.grad(scan(*inputs.values()).sum(), list(inputs.values()))
    checkpoint(scan, *inputs.values(), use_reentrant=False).sum().backward()
    for tensor, gradient in zip(inputs.values(), expected, strict=True):
        torch.testing.assert_close(tensor.grad, gradient, rtol=0, atol=0)


def test_autocast_does_not_interfere() -> None:
    expected, expected_gradients = run_scan(_small(4), "triton")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, gradients = run_scan(_small(4), "triton")
    assert torch.equal(y, expected)
    for name, gradient in gradients.items():
        assert torch.equal(gradient, expected_gradients[name]), name


def test_exports_in_eval() -> None:
    class Scan(torch.nn.Module):
        def forward(self, inputs: Inputs) -> torch.Tensor:
            return selective_scan(**inputs, delta_softplus=True, backend="triton")

    inputs = {name: tensor.detach() for name, tensor in _small(4).items()}
    exported = torch.export.export(Scan().eval(), (inputs,))
    names = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert sum("scan_forward" in name for name in names) == 1
    assert torch.equal(exported.module()(inputs), Scan()(inputs))


def test_inference_saves_nothing() -> None:
    inputs = _small(3)
    arguments = ScanInputs(*(inputs[name].detach() for name in ScanInputs._fields[:8]), True, False)
    y, state = torch_ops.scan_forward(*arguments, False, "triton")
    assert state.numel() == 0
    assert relative_error(y, selective_scan(**inputs, delta_softplus=True, backend="naive")) <= FLOAT32


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shape of u in each launch, forward and backward."""
    launched: list[torch.Size] = []
    for name in ("forward", "backward"):
        inner = getattr(triton_cuda._Launch, name)

        def launch(self: Any, *arguments: torch.Tensor, inner: Any = inner) -> object:
            launched.append(self.inputs.u.shape)
            return inner(self, *arguments)

        monkeypatch.setattr(triton_cuda._Launch, name, launch)
    return launched


def assert_same_as_in_float64(block: torch.nn.Module, x: torch.Tensor) -> None:
    """In float64 no pairs are computed, and not in Triton."""
    gradients = torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()])
    x = x.double()
    exact = torch.autograd.grad(block.double()(x).square().sum(), [x, *block.parameters()])
    for gradient, other in zip(gradients, exact, strict=True):
        assert relative_error(gradient, other) <= 2e-5


def test_bidirectional_block_is_one_launch_each_way(launched: list[torch.Size]) -> None:
    assert_same_as_in_float64(BidirectionalMamba(8, d_state=3), torch.randn(2, 5, 8, requires_grad=True))
    assert launched == [(2, 2, 16, 5)] * 2


@pytest.mark.parametrize("share", ["projections", "all", "none"])
def test_meta_ssm_is_one_launch_each_way(share: Share, launched: list[torch.Size]) -> None:
    options = SSMOptions(share_directions=share, d_state=3)
    assert_same_as_in_float64(MetaSSM(4, 2, options), torch.randn(2, 4, 2, 3, requires_grad=True))
    assert launched == [(2, 2, 8, 6)] * 2


def test_meta_ssm_is_one_launch_per_axis_each_way(launched: list[torch.Size]) -> None:
    options = SSMOptions("tri_bi", scan_merge="concat_proj", share_directions="none", d_state=3)
    assert_same_as_in_float64(MetaSSM(3, 2, options), torch.randn(1, 3, 2, 3, requires_grad=True))
    assert launched == [(2, 1, 6, 6)] * 4
