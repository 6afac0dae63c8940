"""How many bytes of tensors are alive while code runs, with real tensors or with fake ones, which have only a shape."""

import weakref
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


def tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Those among an operator's arguments or results: tensors, lists of them, and other things."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors(value)


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operators make inside the context: those alive now, and the most at one time.

    Tensors that exist before it are not counted, nor is what a kernel allocates and frees within itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        """Bytes of the storages that are alive."""
        self.peak = 0
        """The most that `now` has been."""
        self._watched: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator and count the storages that are new in its result."""
        if func is torch.ops.prim.device.default:  # of fake tensors, at least twice for each operator
            return func(*args)
        kwargs = kwargs or {}
        self._watch(tensors((*args, *kwargs.values())), counted=False)
        result = func(*args, **kwargs)
        self._watch(tensors((result,)), counted=True)
        return result

    def _watch(self, found: Iterator[Tensor], counted: bool) -> None:
        for tensor in found:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self._watched:
                continue
            size = storage.nbytes() if counted else 0
            self._watched[key] = weakref.ref(storage, partial(self._free, key, size))
            self.now += size
            self.peak = max(self.peak, self.now)

    def _free(self, key: int, size: int, _: Any) -> None:
        del self._watched[key]
        self.now -= size
