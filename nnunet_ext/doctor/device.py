"""What computes: CUDA, Apple's MPS or the CPU, and what torch needs around it."""

import os
import shutil
import sys
import warnings
from collections.abc import Iterable

from nnunet_ext.doctor.check import Check, fail, ok, sentence, warn

SELECTOR = "https://pytorch.org/get-started"
SHARED_MEMORY = "/dev/shm"
SHARED_MEMORY_NEEDED = 2**30
GIB = 2**30


def checks() -> Iterable[Check]:
    """The device, and for CUDA the compiler; then the memory that nnU-Net's data workers share."""
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if n_gpus:
        for index in range(n_gpus):
            yield _gpu(index)
        yield _compiler()
    elif torch.backends.mps.is_available():
        yield ok("device", "MPS, Apple's GPU: give nnU-Net's commands -device mps")
    else:
        yield _no_gpu([str(warning.message) for warning in said])
    yield from _shared_memory()


def _gpu(index: int) -> Check:
    import torch

    properties = torch.cuda.get_device_properties(index)
    title = f"GPU {index}"
    value = f"{properties.name}, {properties.total_memory / GIB:.0f} GiB, sm_{properties.major}{properties.minor}"
    try:
        float(torch.ones(8, device=f"cuda:{index}").sum())
    except Exception as error:
        return fail(
            title,
            f"{value}; torch {torch.__version__} cannot compute on it: {sentence(error)}",
            f"install a torch built for this GPU: {SELECTOR} (this one: {' '.join(torch.cuda.get_arch_list())})",
        )
    return ok(title, f"{value}, CUDA {torch.version.cuda}")


def _no_gpu(said: list[str]) -> Check:
    import torch

    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return warn("device", "CPU only, because CUDA_VISIBLE_DEVICES hides every GPU", "unset CUDA_VISIBLE_DEVICES")
    driver = shutil.which("nvidia-smi") is not None
    if driver and torch.version.cuda is None:
        return fail(
            "device",
            f"an NVIDIA driver is here, but torch {torch.__version__} is built without CUDA",
            f"install a torch with CUDA: {SELECTOR}",
        )
    if driver:
        reason = said[0].splitlines()[0] if said else "torch sees no GPU"
        return fail(
            "device",
            f"an NVIDIA driver is here, but torch cannot use it: {reason}",
            f"see whether nvidia-smi runs; update the driver to one for CUDA {torch.version.cuda}, or take an older "
            f"torch: {SELECTOR}",
        )
    return warn(
        "device",
        f"CPU only, {os.cpu_count()} cores",
        "give nnU-Net's commands -device cpu; training at full size needs a GPU",
    )


def _compiler() -> Check:
    candidates = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    for candidate in filter(None, candidates):
        if found := shutil.which(candidate):
            return ok("C compiler", found)
    return warn(
        "C compiler",
        "none; Triton, which computes the fast scan, and torch.compile, which nnU-Net uses on CUDA, need one",
        "install gcc and Python's headers (python3-dev); without torch.compile: export nnUNet_compile=f",
    )


def _shared_memory() -> Iterable[Check]:
    if not sys.platform.startswith("linux"):
        return
    size = shutil.disk_usage(SHARED_MEMORY).total if os.path.isdir(SHARED_MEMORY) else 0
    value = f"{size / GIB:.2g} GiB"
    if size < SHARED_MEMORY_NEEDED:
        yield warn(
            SHARED_MEMORY,
            f"{value}; nnU-Net's data workers die when it is full",
            "docker run --shm-size=8g (or --ipc=host)",
        )
    else:
        yield ok(SHARED_MEMORY, value)
