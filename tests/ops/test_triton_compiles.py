"""The Triton kernels compiled ahead of time, without a GPU: they compile for every generation, within its registers."""

import os
import re
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # the default of Triton up to 3.9, which 3.10 asks to name
triton = pytest.importorskip("triton", minversion="3.3", reason="needs Triton 3.3 or later")
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
pytestmark = [
    pytest.mark.skipif(not CUOBJDUMP.is_file(), reason="this Triton has no cuobjdump"),
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the kernels are interpreted"),
]
FLAGS = {"SOFTPLUS": True, "HAS_D": True, "HAS_Z": True, "HAS_BIAS": True}


def _spilled_bytes(
    kernel: Any, architecture: int, constants: dict[str, Any], half: Collection[str], folder: Path, warps: int = 1
) -> int:
    """What a thread puts aside for want of registers: the kernels have nothing else on the stack."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, attributes = {}, {}
    for i, name in enumerate(kernel.arg_names):
        kind = "constexpr" if name in constants else "i32"
        if name.endswith("_ptr"):
            kind = "*bf16" if name in half else "*fp32"
        signature[name] = kind
        # As the launcher finds it for the usual numbers of channels.
        if kind.startswith("*") or name == "channels" or re.fullmatch(r"[a-zA-Z]+_[kr]", name):
            attributes[(i,)] = [["tt.divisibility", 16]]
    compiled = triton.compile(
        ASTSource(kernel, signature, constants, attributes),
        target=GPUTarget("cuda", architecture, 32),
        options={"num_warps": warps},
    )
    binary = folder / f"{kernel.__name__}_{architecture}.cubin"
    binary.write_bytes(compiled.asm["cubin"])
    usage = subprocess.run([CUOBJDUMP, "--dump-resource-usage", binary], capture_output=True, text=True, timeout=60)
    assert usage.returncode == 0, usage.stderr
    stack = re.search(r"REG:\d+ STACK:(\d+)", usage.stdout)
    assert stack is not None, usage.stdout
    return int(stack[1])


def _tile(states: int) -> dict[str, int]:
    from nnunet_ext.ops.selective_scan.triton_kernels import block_sizes

    return dict(zip(("N", "BD", "BN"), (states, *block_sizes(states)), strict=True))


@pytest.mark.parametrize("architecture", [80, 86, 89, 90])
def test_scan_forward_does_not_spill(architecture: int, tmp_path: Path) -> None:
    from nnunet_ext.ops.selective_scan.triton_kernels import CHUNK, forward_kernel

    constants = {**FLAGS, "SAVE": True, "CARRIED": True, "CHUNK": CHUNK, **_tile(16)}
    assert _spilled_bytes(forward_kernel, architecture, constants, (), tmp_path) == 0


@pytest.mark.parametrize("states", [1, 12, 64])
def test_scan_forward_of_other_states_does_not_spill(states: int, tmp_path: Path) -> None:
    from nnunet_ext.ops.selective_scan.triton_kernels import CHUNK, forward_kernel

    constants = {**FLAGS, "SAVE": False, "CARRIED": False, "CHUNK": CHUNK, **_tile(states)}
    assert _spilled_bytes(forward_kernel, 90, constants, ("u_ptr", "delta_ptr", "B_ptr"), tmp_path) == 0


@pytest.mark.parametrize("adjoint", [False, True])
def test_segments_do_not_spill(adjoint: bool, tmp_path: Path) -> None:
    from nnunet_ext.ops.selective_scan.triton_kernels import carry_kernel, segment_kernel

    flags = {name: FLAGS[name] for name in ("SOFTPLUS", "HAS_Z", "HAS_BIAS")}
    constants = {"ADJOINT": adjoint, **_tile(16)}
    assert _spilled_bytes(segment_kernel, 80, {**flags, **constants}, (), tmp_path) == 0
    assert _spilled_bytes(carry_kernel, 80, constants, (), tmp_path) == 0


@pytest.mark.parametrize("architecture", [80, 86, 89, 90])
def test_scan_backward_compiles(architecture: int, tmp_path: Path) -> None:
    """It may put aside what only its outer loops need; the states of a group fit."""
    from nnunet_ext.ops.selective_scan.triton_kernels import CHUNK, backward_kernel

    constants = {**FLAGS, "CARRIED": True, "CHUNK": CHUNK, **_tile(16)}
    assert _spilled_bytes(backward_kernel, architecture, constants, (), tmp_path) < 1024


@pytest.mark.parametrize("architecture", [80, 86, 89, 90])
def test_convolution_does_not_spill(architecture: int, tmp_path: Path) -> None:
    from nnunet_ext.ops.causal_conv.triton_kernels import BLOCK_D, BLOCK_T, backward_kernel, forward_kernel

    constants = {"HAS_BIAS": True, "SILU": True, "W": 4, "BT": BLOCK_T, "BD": BLOCK_D}
    assert _spilled_bytes(forward_kernel, architecture, constants, (), tmp_path, warps=4) == 0
    assert _spilled_bytes(backward_kernel, architecture, {**constants, "BW": 4}, (), tmp_path, warps=4) == 0
