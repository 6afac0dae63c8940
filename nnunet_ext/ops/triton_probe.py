"""The smallest Triton kernel, which shows whether kernels can be compiled and run. Importing this imports triton."""

import torch
import triton
import triton.language as tl

from nnunet_ext.ops.trial import on_real_tensors


@triton.jit
def _write_one(pointer):  # type: ignore[no-untyped-def]  # Triton's functions have Triton's types
    tl.store(pointer, 1.0)


@on_real_tensors()
def run() -> None:
    """Compile and run it on the current GPU; raises whatever stands in the way."""
    one = torch.zeros(1, device="cuda")
    _write_one[(1,)](one)
    if one.item() != 1:
        raise RuntimeError("a kernel computes something else than it should")
