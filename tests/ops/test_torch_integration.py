"""The scan inside torch: operator rules, compilation, checkpointing, autocast, inference."""

import importlib

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from nnunet_ext.ops import available_backends, selective_scan
from nnunet_ext.ops.selective_scan import registry, torch_ops
from nnunet_ext.ops.selective_scan.backend import ScanInputs

from .scans import make_inputs, run_scan

fast_backends = pytest.mark.parametrize("backend", [name for name in available_backends("cpu") if name != "naive"])


def _operator_inputs(
    *, reverse: bool = False, without: tuple[str, ...] = (), dtype: torch.dtype = torch.float32
) -> ScanInputs:
    inputs = make_inputs(channels=3, states=4, length=70, without=without, dtype=dtype)
    given = [inputs.get(name) for name in ScanInputs._fields[:8]]
    return ScanInputs(*given, True, reverse)


@fast_backends
@pytest.mark.parametrize("without", [(), ("D", "z", "delta_bias")], ids=["all", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_operator_rules(backend: str, without: tuple[str, ...], dtype: torch.dtype) -> None:
    inputs = _operator_inputs(without=without, dtype=dtype)
    torch.library.opcheck(torch.ops.nnunet_ext.scan_forward.default, (*inputs, True, backend), atol=1e-4, rtol=1e-4)
    detached = [t.detach() if isinstance(t, torch.Tensor) else t for t in inputs]
    torch.library.opcheck(torch.ops.nnunet_ext.scan_forward.default, (*detached, False, backend))
    y, state = torch_ops.scan_forward(*detached, True, backend)
    torch.library.opcheck(torch.ops.nnunet_ext.scan_backward.default, (torch.ones_like(y), state, *detached, backend))


@fast_backends
@pytest.mark.parametrize("compiler", ["eager", "aot_eager"])
@pytest.mark.parametrize("dynamic", [None, True])
def test_compiles_as_one_graph(backend: str, compiler: str, dynamic: bool | None) -> None:
    torch.compiler.reset()

    def scan(**inputs: torch.Tensor) -> torch.Tensor:
        return 2 * selective_scan(**inputs, delta_softplus=True, reverse=True, backend=backend)

    inputs = make_inputs(length=70)
    compiled = torch.compile(scan, fullgraph=True, backend=compiler, dynamic=dynamic)
    compiled(**inputs).sum().backward()
    gradients = {name: tensor.grad.clone() for name, tensor in inputs.items()}
    for tensor in inputs.values():
        tensor.grad = None
    scan(**inputs).sum().backward()
    for name, tensor in inputs.items():
        torch.testing.assert_close(gradients[name], tensor.grad)
    with torch.no_grad():
        torch.testing.assert_close(compiled(**inputs), scan(**inputs))


def test_compiles_with_inductor() -> None:
    torch.compiler.reset()
    inputs = make_inputs(length=20)
    compiled = torch.compile(selective_scan, fullgraph=True)
    try:
        y = compiled(**inputs, delta_softplus=True)
    except torch._dynamo.exc.BackendCompilerFailed as error:
        if "InvalidCxxCompiler" in str(error):
            pytest.skip("inductor finds no C++ compiler")
        raise
    torch.testing.assert_close(y, selective_scan(**inputs, delta_softplus=True))


def test_compiles_under_auto_choice() -> None:
    torch.compiler.reset()
    inputs = make_inputs(length=20)
    compiled = torch.compile(selective_scan, fullgraph=True, backend="aot_eager")
    y = compiled(**inputs, delta_softplus=True)
    torch.testing.assert_close(y, selective_scan(**inputs, delta_softplus=True))


@fast_backends
def test_activation_checkpointing(backend: str) -> None:
    inputs = make_inputs()
    names = list(inputs)

    def scan(*tensors: torch.Tensor) -> torch.Tensor:
        return selective_scan(**dict(zip(names, tensors, strict=True)), delta_softplus=True, backend=backend)

    expected = torch.autograd.grad(scan(*inputs.values()).sum(), list(inputs.values()))
    for reentrant in (False, True):
        y = checkpoint(scan, *inputs.values(), use_reentrant=reentrant)
        y.sum().backward()
        for tensor, gradient in zip(inputs.values(), expected, strict=True):
            torch.testing.assert_close(tensor.grad, gradient, rtol=0, atol=0)
            tensor.grad = None


@pytest.mark.parametrize("backend", available_backends("cpu"))
def test_autocast_does_not_interfere(backend: str) -> None:
    inputs = make_inputs()
    expected, expected_gradients = run_scan(inputs, backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, gradients = run_scan(inputs, backend)
    assert y.dtype == torch.float32
    assert torch.equal(y, expected)
    for name, gradient in gradients.items():
        assert torch.equal(gradient, expected_gradients[name]), name


@fast_backends
def test_inference_saves_nothing(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[bool] = []
    inner = registry.get_backend(backend).forward

    def forward(inputs: ScanInputs, save: bool) -> object:
        saved.append(save)
        return inner(inputs, save)

    monkeypatch.setattr(registry.get_backend(backend), "forward", forward)
    inputs = make_inputs(length=5)
    with torch.no_grad():
        selective_scan(**inputs, backend=backend)
    with torch.inference_mode():
        selective_scan(**inputs, backend=backend)
    selective_scan(**{name: tensor.detach() for name, tensor in inputs.items()}, backend=backend)
    assert saved == [False] * 3
    _, state = torch_ops.scan_forward(*_operator_inputs(), False, backend)
    assert state.numel() == 0


@fast_backends
def test_backward_without_checkpoints_is_refused(backend: str) -> None:
    y, _ = torch_ops.scan_forward(*_operator_inputs(), False, backend)
    with pytest.raises(RuntimeError, match="save=False"):
        y.sum().backward()


@fast_backends
def test_gradient_of_one_input_only(backend: str) -> None:
    inputs = {name: tensor.detach() for name, tensor in make_inputs().items()}
    inputs["A"].requires_grad_()
    selective_scan(**inputs, delta_softplus=True, backend=backend).sum().backward()
    assert inputs["A"].grad is not None
    assert all(tensor.grad is None for name, tensor in inputs.items() if name != "A")


@fast_backends
def test_second_derivatives_are_refused_not_wrong(backend: str) -> None:
    inputs = make_inputs(length=5)
    (first,) = torch.autograd.grad(
        selective_scan(**inputs, delta_softplus=True, backend=backend).sum(), inputs["u"], create_graph=True
    )
    with pytest.raises(RuntimeError):
        first.sum().backward()


def test_meta_tensors_give_shapes() -> None:
    inputs = {name: tensor.detach().to("meta") for name, tensor in make_inputs().items()}
    y = selective_scan(**inputs)
    assert y.shape == (2, 5, 65)
    assert y.is_meta


def test_operators_can_be_registered_again() -> None:
    importlib.reload(torch_ops)
    run_scan(make_inputs(length=5), "torch")
