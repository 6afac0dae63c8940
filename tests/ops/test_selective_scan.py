"""Every backend against the oracle, and the oracle against the reference implementation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_ext.ops import available_backends, selective_scan
from nnunet_ext.ops.selective_scan import lane
from nnunet_ext.ops.selective_scan.registry import BACKEND_NAMES

from ..reference import load_reference, relative_error
from .scans import OPTIONAL, assert_same_scan, make_inputs, run_scan

FAST = [name for name in available_backends("cpu") if name != "naive"]
ALL = available_backends("cpu")
NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
FLOAT32, HALF = 2e-6, {torch.float16: 2e-3, torch.bfloat16: 1e-2}

fast_backends = pytest.mark.parametrize("backend", FAST)
all_backends = pytest.mark.parametrize("backend", ALL)
every_backend = pytest.mark.parametrize("backend", BACKEND_NAMES)  # usable here or not
directions = pytest.mark.parametrize("reverse", [False, True])


@pytest.mark.parametrize("name", ["selective_scan", "selective_scan_no_gate"])
@pytest.mark.parametrize(
    ("backend", "dtype", "tolerance"),
    [
        ("naive", torch.float64, 1e-12),
        ("torch", torch.float64, 1e-12),
        ("naive", torch.float32, FLOAT32),
        ("torch", torch.float32, FLOAT32),
        ("numba", torch.float32, FLOAT32),
    ],
)
def test_reference(name: str, backend: str, dtype: torch.dtype, tolerance: float) -> None:
    reference = load_reference(name)
    if backend not in ALL:
        pytest.skip(f"{backend} is not installed")
    leaves = {key: torch.from_numpy(reference[key]).to(dtype).requires_grad_() for key in NAMES if key in reference}
    y = selective_scan(**leaves, delta_softplus=True, backend=backend)
    assert y.dtype == dtype
    assert relative_error(y, reference["out"]) <= tolerance
    y.backward(torch.from_numpy(reference["cotangent"]).to(dtype))
    for key, leaf in leaves.items():
        assert relative_error(leaf.grad, reference[f"grad_{key}"]) <= tolerance, key


@fast_backends
@directions
@pytest.mark.parametrize("states", [1, 3, 8, 16])
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 130])
def test_lengths_and_states(backend: str, length: int, states: int, reverse: bool) -> None:
    assert_same_scan(make_inputs(length=length, states=states), backend, FLOAT32, reverse=reverse)


@fast_backends
@directions
@pytest.mark.parametrize("softplus", [False, True])
@pytest.mark.parametrize(
    "without", [(), OPTIONAL, *((name,) for name in OPTIONAL)], ids=lambda w: "-".join(w) or "none"
)
def test_optional_arguments(backend: str, without: tuple[str, ...], softplus: bool, reverse: bool) -> None:
    inputs = make_inputs(without=without)
    if not softplus:
        for name in {"delta", "delta_bias"} & inputs.keys():
            inputs[name] = inputs[name].detach().abs() * 0.1  # step sizes are positive
    assert_same_scan(inputs, backend, FLOAT32, reverse=reverse, delta_softplus=softplus)


@fast_backends
@directions
def test_many_lanes(backend: str, reverse: bool) -> None:
    assert_same_scan(make_inputs(batch=1, channels=2, length=1000), backend, FLOAT32, reverse=reverse)


@directions
@pytest.mark.parametrize("lanes", [1, 3])
def test_torch_backend_works_off_long_sequences_in_tiles(
    lanes: int, reverse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "CPU", lane._Sizes(work=36, steps=4, lanes=lanes))
    assert_same_scan(make_inputs(batch=2, channels=2, states=3, length=50), "torch", FLOAT32, reverse=reverse)


@fast_backends
@pytest.mark.parametrize("batch", [1, 3, 40])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_batches_and_threads(backend: str, batch: int, threads: int) -> None:
    torch.set_num_threads(threads)
    assert_same_scan(make_inputs(batch=batch, channels=7, length=20), backend, FLOAT32)


def test_torch_backend_works_off_large_batches_in_groups() -> None:
    assert_same_scan(make_inputs(batch=33, channels=129, length=4), "torch", FLOAT32)


@fast_backends
@directions
def test_large_decay_is_finite_and_exact(backend: str, reverse: bool) -> None:
    assert_same_scan(make_inputs(length=200, large_decay=True), backend, FLOAT32, reverse=reverse)


@fast_backends
def test_growing_states(backend: str) -> None:
    inputs = make_inputs(length=40)
    inputs["A"] = inputs["A"].detach().abs() * 0.1
    assert_same_scan(inputs, backend, FLOAT32)


@fast_backends
def test_most_states(backend: str) -> None:
    assert_same_scan(make_inputs(batch=1, channels=2, states=256, length=9), backend, FLOAT32)


@all_backends
def test_softplus_of_small_step_sizes(backend: str) -> None:
    """y = softplus(delta) for D = C = B = u = 1 and one step: log(1 + exp(x)) in float32 is 1 % off at -12."""
    delta = torch.linspace(-12, -4, 101)
    ones = torch.ones(1, 1, 1)
    for value in delta:
        y = selective_scan(ones, value.view(1, 1, 1), -ones[0], ones, ones, delta_softplus=True, backend=backend)
        torch.testing.assert_close(y.double().view(()), torch.nn.functional.softplus(value.double()), rtol=1e-6, atol=0)


@all_backends
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_give_float32(backend: str, dtype: torch.dtype) -> None:
    inputs = make_inputs(dtype=dtype)
    y, _ = run_scan(inputs, backend)
    assert y.dtype == torch.float32
    assert_same_scan(inputs, backend, FLOAT32, HALF[dtype])  # only the gradients are rounded to half precision


@all_backends
def test_mixed_dtypes(backend: str) -> None:
    inputs = make_inputs()
    for name, dtype in {"u": torch.float16, "B": torch.bfloat16, "z": torch.bfloat16, "D": torch.float16}.items():
        inputs[name] = inputs[name].detach().to(dtype)
    assert_same_scan(inputs, backend, FLOAT32, HALF[torch.bfloat16])


@pytest.mark.parametrize("backend", ["torch", "naive"])
def test_one_float64_input_makes_the_scan_float64(backend: str) -> None:
    inputs = make_inputs()
    inputs["A"] = inputs["A"].detach().double()
    y, gradients = run_scan(inputs, backend)
    assert y.dtype == torch.float64
    assert gradients["A"].dtype == torch.float64
    assert gradients["u"].dtype == torch.float32


@fast_backends
@directions
def test_non_contiguous_inputs(backend: str, reverse: bool) -> None:
    inputs = make_inputs(length=64)
    for name in ("u", "delta", "B", "C", "z"):
        inputs[name] = inputs[name].detach().transpose(1, 2).contiguous().transpose(1, 2)  # channel-last
    inputs["A"] = inputs["A"].detach().t().contiguous().t()
    inputs["D"] = inputs["D"].detach()[:1].expand(5)
    assert_same_scan(inputs, backend, FLOAT32, reverse=reverse)


@all_backends
def test_reverse_is_flipping_before_and_after(backend: str) -> None:
    inputs = make_inputs(length=70)
    flipped = {name: t.flip(-1) if name in ("u", "delta", "B", "C", "z") else t for name, t in inputs.items()}
    y, gradients = run_scan(inputs, backend, reverse=True)
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in flipped.items()}
    expected = selective_scan(**leaves, delta_softplus=True, backend=backend).flip(-1)
    assert relative_error(y, expected) <= FLOAT32
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).float()
    expected.backward(cotangent)
    for name, gradient in gradients.items():
        other = leaves[name].grad
        assert relative_error(gradient, other.flip(-1) if gradient.ndim == 3 else other) <= FLOAT32, name


@pytest.mark.parametrize("backend", ["torch", "naive"])
@directions
@pytest.mark.parametrize("without", [(), OPTIONAL], ids=["all", "none"])
def test_gradcheck(backend: str, reverse: bool, without: tuple[str, ...]) -> None:
    inputs = make_inputs(batch=2, channels=2, states=3, length=5, without=without, dtype=torch.float64)
    names = list(inputs)

    def scan(*tensors: torch.Tensor) -> torch.Tensor:
        return selective_scan(
            **dict(zip(names, tensors, strict=True)), delta_softplus=True, reverse=reverse, backend=backend
        )

    assert torch.autograd.gradcheck(scan, tuple(inputs.values()))


def test_gradcheck_with_several_lanes() -> None:
    inputs = make_inputs(batch=1, channels=1, states=2, length=70, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda u, delta, A: selective_scan(**{**inputs, "u": u, "delta": delta, "A": A}, backend="torch"),
        (inputs["u"], inputs["delta"].detach().abs().requires_grad_(), inputs["A"]),
        fast_mode=True,
    )


@fast_backends
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 5),
    channels=st.integers(1, 9),
    states=st.integers(1, 20),
    length=st.integers(1, 140),
    reverse=st.booleans(),
    large_decay=st.booleans(),
    without=st.sets(st.sampled_from(OPTIONAL)),
    seed=st.integers(0, 99),
)
def test_any_shape(
    backend: str,
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
    assert_same_scan(inputs, backend, 1e-5, 1e-4, reverse=reverse)


@all_backends
def test_empty_batch(backend: str) -> None:
    inputs = make_inputs(batch=0)
    y, gradients = run_scan(inputs, backend)
    assert y.shape == (0, 5, 65)
    for name, gradient in gradients.items():
        assert gradient.shape == inputs[name].shape
        assert not gradient.any()


@fast_backends
def test_nan_and_infinity_come_out(backend: str) -> None:
    """Gradient scalers look for them."""
    for bad in (float("nan"), float("inf")):
        for name in ("u", "delta", "A", "B", "C", "D", "z", "delta_bias"):
            inputs = {key: tensor.detach() for key, tensor in make_inputs(length=20).items()}
            inputs[name].view(-1)[0] = bad if name != "A" else float("nan")
            if name in ("delta", "delta_bias", "z") and bad == float("inf"):
                continue  # a decay of exactly zero, or an open gate: finite or infinite, both are right
            assert not selective_scan(**inputs, delta_softplus=True, backend=backend).isfinite().all(), name
    inputs = make_inputs(length=20)
    y = selective_scan(**inputs, delta_softplus=True, backend=backend)
    y.backward(torch.full_like(y, float("nan")))
    assert all(tensor.grad is not None and tensor.grad.isnan().any() for tensor in inputs.values())


@fast_backends
def test_same_result_every_time(backend: str) -> None:
    first, again = (run_scan(make_inputs(batch=3, length=100), backend) for _ in range(2))
    assert torch.equal(first[0], again[0])
    for name, gradient in first[1].items():
        assert torch.equal(gradient, again[1][name]), name


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("u", (2, 5), r"\(B, D, L\)"),
        ("u", (2, 5, 0), "L >= 1"),
        ("delta", (2, 5, 64), r"\(B, D, L\) = \(2, 5, 65\)"),
        ("A", (4, 16), r"\(D, N\)"),
        ("A", (5, 257), "N from 1 to 256"),
        ("A", (5, 0), "N from 1 to 256"),
        ("B", (2, 1, 16, 65), r"\(B, N, L\) = \(2, 16, 65\)"),
        ("C", (2, 65, 16), r"\(B, N, L\) = \(2, 16, 65\)"),
        ("D", (16,), r"\(D\) = \(5,\)"),
        ("z", (1, 5, 65), r"\(B, D, L\) = \(2, 5, 65\)"),
        ("delta_bias", (1, 5), r"\(D\) = \(5,\)"),
    ],
)
@every_backend
def test_wrong_shapes_are_named(backend: str, name: str, shape: tuple[int, ...], expected: str) -> None:
    inputs = make_inputs()
    inputs[name] = torch.zeros(shape)
    with pytest.raises(ValueError, match=rf"^{name} has shape .*{expected}"):
        selective_scan(**inputs, backend=backend)


@every_backend
@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.float8_e4m3fn], ids=str)
def test_other_dtypes_are_refused(backend: str, dtype: torch.dtype) -> None:
    inputs = make_inputs()
    inputs["D"] = torch.ones(5).to(dtype)
    with pytest.raises(ValueError, match=rf"^D of shape \(5,\) has dtype {dtype}, expected float16, bfloat16, float32"):
        selective_scan(**inputs, backend=backend)


@every_backend
def test_tensors_on_two_devices_are_refused(backend: str) -> None:
    inputs = make_inputs()
    inputs["z"] = inputs["z"].detach().to("meta")
    with pytest.raises(ValueError, match=r"^z of shape \(2, 5, 65\) is on meta, expected cpu, where u is"):
        selective_scan(**inputs, backend=backend)
