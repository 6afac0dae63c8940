"""The Triton backend: its absence, how it cuts up the work, and its kernels in Triton's interpreter."""

import re
import sys
from pathlib import Path

import pytest
import torch

from nnunet_ext.doctor import scan as doctor_scan
from nnunet_ext.ops import available_backends, selective_scan, triton_runtime
from nnunet_ext.ops.selective_scan import triton_cuda
from nnunet_ext.ops.selective_scan.registry import choose_backend

from ..conftest import Run
from .scans import make_inputs

pytest.importorskip("triton", reason="triton is not installed")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_it_says_so() -> None:
    for device in (None, "cpu", "mps"):
        assert "triton" not in available_backends(device)
    with pytest.raises(
        RuntimeError, match=r"'triton' \(backend\) cannot be used here: it needs a CUDA device, not cpu\.$"
    ):
        selective_scan(**make_inputs(length=3), backend="triton")


@pytest.mark.parametrize(
    ("scans", "batch", "channels", "length", "segments"),
    [
        (1, 26880, 64, 128, 1),  # many windows: a program per window and block of channels
        (2, 26880, 64, 128, 1),
        (1, 1024, 128, 512, 1),
        (1, 2, 640, 13440, 53),
        (1, 2, 64, 26880, 420),  # few long sequences: pieces, as short as one chunk
        (1, 1, 64, 1, 1),
    ],
)
def test_work_is_cut_up_to_fill_an_h200(scans: int, batch: int, channels: int, length: int, segments: int) -> None:
    from nnunet_ext.ops.selective_scan.triton_cuda import FILLING, make_plan
    from nnunet_ext.ops.selective_scan.triton_kernels import CHUNK

    multiprocessors = 132
    plan = make_plan(scans, batch, -(-channels // 32), length, multiprocessors)
    assert plan.segments == segments
    assert plan.span % CHUNK == 0
    assert (plan.segments - 1) * plan.span < length <= plan.segments * plan.span
    programs = scans * batch * plan.blocks * plan.segments
    assert 2 * programs >= FILLING * multiprocessors or plan.span == CHUNK
    assert 1 <= plan.workers <= batch * plan.segments


@pytest.mark.parametrize("file", ["interpreted_scan.py", "interpreted_conv.py"])
def test_kernels_in_the_interpreter(run: Run, file: str) -> None:
    """In a process of its own: Triton must find the variable when the kernels are made."""
    command = (sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/ops/{file}")
    path = {"PYTHONPATH": str(ROOT), "TRITON_INTERPRET": "1", "TRITON_DEFAULT_FP_FUSION": "1"}
    result = run(*command, env=path, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout


@pytest.mark.parametrize(
    ("version", "usable"),
    [("3.2.0", False), ("2.3.1", False), ("3.3.0", True), ("3.10.0+git1a2b", True), ("4.0.0", True)],
)
def test_a_triton_that_is_too_old_is_not_used(version: str, usable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import triton

    monkeypatch.setattr(triton, "__version__", version)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(triton_runtime, "_why_it_does_not_run", lambda: None)
    monkeypatch.setattr(triton_cuda, "_why_not_trusted", lambda: None)
    triton_runtime._why_not_triton.cache_clear()
    try:
        assert ("triton" in available_backends("cuda")) == usable
        lines = [check.value for check in doctor_scan.checks() if check.title == "scan triton"]
        if usable:
            assert choose_backend("triton", "cuda", False) == "triton"
            assert lines == []
        else:
            sentence = f"Triton {version} is too old: version 3.3 or later is needed"
            with pytest.raises(RuntimeError, match=rf"'triton' \(backend\) cannot be used here: {re.escape(sentence)}"):
                choose_backend("triton", "cuda", False)
            assert sentence in lines[0]
    finally:
        triton_runtime._why_not_triton.cache_clear()
