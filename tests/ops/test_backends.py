"""Which backend a scan uses, and what happens where one is missing or broken."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from nnunet_ext.ops import available_backends, backend_status, selective_scan
from nnunet_ext.ops.loading import why_not_loaded
from nnunet_ext.ops.selective_scan import mamba_ssm, registry
from nnunet_ext.ops.selective_scan.backend import SEQUENCES, ScanInputs
from nnunet_ext.ops.selective_scan.lane import LaneBackend

from ..reference import relative_error
from .scans import assert_same_scan, make_inputs, run_scan

VARIABLE = "NNUNET_EXT_SCAN_BACKEND"


@pytest.fixture(autouse=True)
def _probe_again() -> Iterator[None]:
    why_not_loaded.cache_clear()
    yield
    why_not_loaded.cache_clear()
    sys.modules.pop("selective_scan_cuda", None)


def _scan(backend: str = "auto") -> torch.Tensor:
    return selective_scan(**make_inputs(length=3), backend=backend)


def test_names_are_fastest_first() -> None:
    assert available_backends("cpu") in (["numba", "torch", "naive"], ["torch", "naive"])
    assert available_backends(torch.device("mps")) == ["torch", "naive"]
    assert set(available_backends("cpu")) <= set(available_backends())


def test_every_backend_has_a_status_and_every_absence_a_reason() -> None:
    statuses = backend_status("cpu")
    assert [status.name for status in statuses] == ["triton", "mamba_ssm", "numba", "torch", "naive"]
    assert all(bool(status.reason) != status.usable for status in statuses)
    assert statuses[0].reason == statuses[1].reason == "it needs a CUDA device, not cpu"


def test_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ValueError, match=r"^backend='cuda' is no selective scan backend: use 'auto' .* torch, naive\.$"
    ):
        _scan("cuda")
    monkeypatch.setenv(VARIABLE, "Numba")
    with pytest.raises(ValueError, match=rf"^{VARIABLE}='Numba' is no selective scan backend"):
        _scan()


def test_known_but_unusable_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match=r"'mamba_ssm' .* cannot be used here: it needs a CUDA device, not cpu"):
        _scan("mamba_ssm")
    monkeypatch.setenv(VARIABLE, "mamba_ssm")
    with pytest.raises(RuntimeError, match=rf"'mamba_ssm' \({VARIABLE}\) cannot be used here"):
        _scan()


def test_numba_refuses_float64() -> None:
    with pytest.raises(RuntimeError, match=r"'numba' .* float32, and an input is float64"):
        selective_scan(**make_inputs(length=3, dtype=torch.float64), backend="numba")


def test_environment_variable_decides_unless_the_caller_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "naive")
    assert registry.choose_backend("auto", "cpu", False) == "naive"
    assert registry.choose_backend("torch", "cpu", False) == "torch"
    for value in ("auto", ""):
        monkeypatch.setenv(VARIABLE, value)
        assert registry.choose_backend("auto", "cpu", False) == available_backends("cpu")[0]


def test_auto_computes_float64_in_float64() -> None:
    assert registry.choose_backend("auto", "cpu", True) == "torch"
    assert selective_scan(**make_inputs(length=3, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    ("error", "message"),
    [(ImportError, "selective_scan_cuda.so: undefined symbol: _ZN2at4"), (RuntimeError, "0 active drivers")],
)
def test_half_installed_mamba_ssm(
    error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "selective_scan_cuda.py").write_text(f"raise {error.__name__}({message!r})\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    problem = registry._problem("mamba_ssm", "cuda", float64=False)
    assert problem == f"mamba-ssm's module selective_scan_cuda does not load: {error.__name__}: {message}"
    assert "mamba_ssm" not in available_backends("cuda")
    assert registry.choose_backend("auto", "cuda", False) == "torch"


def test_absent_mamba_ssm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", None)  # as if it were not installed
    assert registry._problem("mamba_ssm", "cuda", False) == "mamba-ssm's module selective_scan_cuda is not installed"


def test_without_numba_torch_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "nnunet_ext.ops.selective_scan.numba_kernels", raising=False)
    assert available_backends("cpu") == ["torch", "naive"]
    assert {status.name: status.reason for status in backend_status("cpu")}["numba"] == "numba is not installed"
    assert_same_scan(make_inputs(length=3), "auto", 2e-6)


def test_broken_numba_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 2.2 or less')\n")
    for module in [name for name in sys.modules if name.split(".")[0] == "numba" or name.endswith("numba_kernels")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert available_backends("cpu") == ["torch", "naive"]
    assert "Numba needs NumPy 2.2 or less" in {s.name: s.reason for s in backend_status("cpu")}["numba"]


class _FakeKernel:
    """`selective_scan_cuda` on a CPU: its calling convention as of mamba-ssm 2.3, around the torch backend."""

    @staticmethod
    def fwd(u, delta, A, B, C, D, z, bias, softplus):
        for tensor in (u, delta, A, B, C, D, z, bias):
            assert tensor is None or (tensor.dtype == torch.float32 and tensor.is_contiguous())
        inputs = ScanInputs(u, delta, A, B.squeeze(1), C.squeeze(1), D, None, bias, softplus, False)
        out, _ = LaneBackend().forward(inputs, save=False)
        assert B.ndim == C.ndim == 4
        states = torch.full((*u.shape[:2], -(-u.shape[2] // 2048), 2 * A.shape[1]), 7.0)
        return [out, states] if z is None else [out, states, out * torch.nn.functional.silu(z)]

    @staticmethod
    def bwd(u, delta, A, B, C, D, z, bias, dout, states, out, dz, softplus, recompute_out_z):
        assert dz is None
        assert recompute_out_z is False
        assert dout.dtype == torch.float32
        assert dout.is_contiguous()
        assert states.shape == (*u.shape[:2], 1, 2 * A.shape[1])
        assert (states == 7).all()
        inputs = ScanInputs(u, delta, A, B.squeeze(1), C.squeeze(1), D, z, bias, softplus, False)
        before_gate, _ = LaneBackend().forward(inputs._replace(z=None), save=False)
        assert out is None if z is None else torch.equal(out, before_gate)
        _, state = LaneBackend().forward(inputs, save=True)
        gradients = LaneBackend().backward(inputs, state, dout)
        du, ddelta, dA, dB, dC, dD, dz, dbias = (torch.empty(0) if t is None else t for t in gradients)
        return [du, ddelta, dA, dB.unsqueeze(1), dC.unsqueeze(1), dD, dbias, *([] if z is None else [dz])]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("without", [(), ("z",), ("D", "z", "delta_bias")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_mamba_ssm_is_called_as_it_wants(
    channels_last: bool, dtype: torch.dtype, without: tuple[str, ...], reverse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plumbing only: the order of arguments and results, flips, casts, memory, what is saved."""
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", _FakeKernel)
    monkeypatch.setattr(mamba_ssm.MambaSsmBackend, "problem", lambda *_: None)
    inputs = make_inputs(length=9, dtype=dtype, without=without)
    if channels_last:
        for name in set(SEQUENCES) & inputs.keys():
            inputs[name] = inputs[name].detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    y, gradients = run_scan(inputs, "mamba_ssm", reverse=reverse)
    expected, expected_gradients = run_scan(inputs, "naive", reverse=reverse)
    assert y.dtype == torch.float32
    assert relative_error(y, expected) <= 1e-6
    for name, gradient in gradients.items():
        assert gradient.dtype == dtype
        assert relative_error(gradient, expected_gradients[name]) <= (1e-6 if dtype == torch.float32 else 1e-2), name


def test_another_default_dtype() -> None:
    expected, expected_gradients = run_scan(make_inputs(length=9), "numba")
    torch.set_default_dtype(torch.float64)
    try:
        y, gradients = run_scan(make_inputs(length=9), "numba")
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(y, expected)
    assert all(torch.equal(gradient, expected_gradients[name]) for name, gradient in gradients.items())


def test_import_loads_no_optional_library(run: Callable) -> None:
    code = (
        "import sys, nnunet_ext; assert 'torch' not in sys.modules\n"
        "import torch; before = set(sys.modules)  # torch may bring triton along\n"
        "import nnunet_ext.ops, nnunet_ext.blocks\n"
        "optional = {'triton', 'numba', 'mamba_ssm', 'selective_scan_cuda', 'causal_conv1d'}\n"
        "assert not optional & (set(sys.modules) - before)"
    )
    result = run(sys.executable, "-c", code)
    assert result.returncode == 0, result.stderr


def test_no_writable_cache(run: Callable, tmp_path: Path) -> None:
    """A read-only container: no place for numba's cache, yet numba is used."""
    code = (
        "import torch\n"
        "from numba.core import caching\n"
        "def refuse(self): raise OSError(30, 'Read-only file system')\n"
        "for locator in caching.CacheImpl._locator_classes:\n"
        "    locator.ensure_cache_path = refuse\n"
        "from nnunet_ext.ops import available_backends, selective_scan\n"
        "assert available_backends('cpu')[0] == 'numba'\n"
        "x = torch.ones(1, 2, 3)\n"
        "assert selective_scan(x, x, -torch.ones(2, 1), x[:, :1], x[:, :1], backend='numba').isfinite().all()\n"
    )
    environment = {"HOME": "/proc/nonexistent", "NUMBA_CACHE_DIR": "/dev/null/x"}
    result = run(sys.executable, "-c", code, env=environment, cwd=tmp_path, timeout=300)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_scans_in_forked_processes(run: Callable) -> None:
    code = (
        "import os, torch\n"
        "from nnunet_ext.ops import selective_scan\n"
        "torch.set_num_threads(2)\n"
        "x = torch.ones(3, 4, 70, requires_grad=True)\n"
        "def scan(): selective_scan(x, x, -torch.ones(4, 2), x[:, :2], x[:, :2], backend='numba').sum().backward()\n"
        "scan()\n"
        "expected = x.grad.clone()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    x.grad = None\n"
        "    scan()\n"
        "    os._exit(0 if torch.equal(x.grad, expected) else 3)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    result = run(sys.executable, "-c", code, timeout=300)
    assert result.returncode == 0, result.stderr


def test_scans_in_several_python_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    inputs = make_inputs(batch=3)
    expected = run_scan(inputs, "auto")[0]
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: run_scan(inputs, "auto")[0], range(16)):
            assert torch.equal(result, expected)
