"""Tensors that have a shape but no memory: PyTorch's fake tensors, at less time for each operator."""

import functools
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager
from torch.torch_version import TorchVersion

from nnunet_ext.planning.live_bytes import tensors

VIEWS = (
    "view _unsafe_view detach alias transpose t permute expand select slice split split_with_sizes unbind unsqueeze "
    "squeeze as_strided"
)
PLAIN = (
    "stack cat repeat sum mm addmm bmm clone empty_like new_empty select_backward slice_backward copy_ fill_ zero_ "
    "normal_ uniform_ contiguous"
)
"""Operators whose result PyTorch's meta kernels tell at once, besides those that it marks as pointwise."""


OLDEST_WITHOUT_GPU = "2.10"
"""Of torch: before it, a convolution of fake CUDA tensors asks the driver, and ends the process where there is none."""


def check_torch() -> None:
    """Raise ValueError if the torch that is installed cannot follow a GPU's step on this machine."""
    if torch.cuda.is_available() or TorchVersion(torch.__version__) >= OLDEST_WITHOUT_GPU:
        return
    raise ValueError(
        f"estimating a GPU's memory on a machine without one needs torch {OLDEST_WITHOUT_GPU} or later, and this is "
        f"{torch.__version__}: plan on the machine that has the GPU, or update torch"
    )


class Shapes(FakeTensorMode):
    """Inside, tensors have no memory.

    PyTorch's own mode is made for compilers: at every operator it asks whether a shape is symbolic, looks the result up
    in a cache, and runs many operators' decompositions in Python. Most operators of a step are of a few simple kinds.
    Those go straight to their meta kernels here, in less than half of the time; the others go PyTorch's way.
    """

    def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The result of an operator."""
        if func is torch.ops.prim.device.default:  # by far the most frequent
            return args[0].fake_device
        kwargs = kwargs or {}
        device = _common_device(args, kwargs) if _is_simple(func) and kwargs.get("device") is None else None
        if device is None:
            return super().dispatch(func, types, args, kwargs)
        with in_kernel_invocation_manager(self):
            result = func(*args, **kwargs)
        if isinstance(result, list | tuple):
            return type(result)(self._fake(part, device) for part in result)
        return self._fake(result, device)

    def _fake(self, result: Any, device: torch.device) -> Any:
        return result if isinstance(result, FakeTensor) else FakeTensor(self, result, device)


@functools.cache
def _is_simple(func: Any) -> bool:
    if getattr(func, "namespace", None) != "aten":
        return False
    name = func.__name__.split(".")[0]
    return torch.Tag.pointwise in func.tags or name == "_to_copy" or name in f"{VIEWS} {PLAIN}".split()


def _common_device(args: Any, kwargs: Any) -> torch.device | None:
    """Of an operator's fake tensors; None if there are none, or others, whose values PyTorch may want to know."""
    device = None
    for tensor in tensors((*args, *kwargs.values())):
        if not isinstance(tensor, FakeTensor) or tensor.constant is not None:
            return None
        if device is not None and tensor.fake_device != device:
            return None
        device = tensor.fake_device
    return device
