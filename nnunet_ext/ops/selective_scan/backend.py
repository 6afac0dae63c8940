"""What a backend of the selective scan is."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from nnunet_ext.ops.precision import compute_dtype

SEQUENCES = ("u", "delta", "B", "C", "z")
"""The inputs that belong to positions; the others are parameters."""


class ScanInputs(NamedTuple):
    """The arguments of one scan or of a pair, in the order of the public function (shapes: see `selective_scan`).

    Methods and no properties or slices: torch 2.8's compiler does not follow those of named tuples.
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None
    delta_softplus: bool
    reverse: bool

    def sizes(self) -> tuple[int, int, int, int]:
        """Batch, channels D, states N and length L."""
        batch, channels, length = self.u.shape[-3:]
        return batch, channels, self.A.shape[-1], length

    def is_pair(self) -> bool:
        """Whether these are two scans, along a first axis of all tensors; the second runs against the first."""
        return self.u.ndim == 4

    def scans(self) -> tuple["ScanInputs", "ScanInputs"]:
        """The two scans of a pair."""
        first, second = self.map(lambda tensor: tensor[0]), self.map(lambda tensor: tensor[1])
        return first, second._replace(reverse=not self.reverse)

    def tensors(self) -> tuple[Tensor | None, ...]:
        """The eight tensor arguments; None where one is not given."""
        return self.u, self.delta, self.A, self.B, self.C, self.D, self.z, self.delta_bias

    def dtype(self) -> torch.dtype:
        """The dtype of state and output: float64 if any input is float64, else float32."""
        return compute_dtype(*self.tensors())

    def upcast(self) -> "ScanInputs":
        """The same inputs, all of them in `self.dtype()`."""
        dtype = self.dtype()
        return self.map(lambda tensor: tensor.to(dtype))

    def map(self, function: Callable[[Tensor], Tensor]) -> "ScanInputs":
        """The function applied to every tensor that is given."""
        given = {name: tensor for name, tensor in zip(TENSORS, self.tensors(), strict=True) if tensor is not None}
        return self._replace(**{name: function(tensor) for name, tensor in given.items()})  # type: ignore[arg-type]  # all of them tensors


TENSORS = ScanInputs._fields[:8]
"""The names of `ScanInputs.tensors()`."""


class ScanGradients(NamedTuple):
    """The gradient of each tensor argument; None where the argument is not given."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None


class ScanBackend(ABC):
    """One way to compute the scan.

    Inputs arrive in the caller's dtypes and strides, on one device, checked and not empty; pairs only where `pairs`.
    Autocast is off and no graph is being recorded.
    """

    name: str
    float64: bool
    """Whether it computes float64 inputs in float64."""
    channels_last: bool = False
    """Whether the channels (of dB and dC the states) of y and of sequences' gradients lie side by side in memory."""
    pairs: bool = False
    """Whether it computes pairs of scans."""

    @abstractmethod
    def problem(self, device_type: str | None) -> str | None:
        """Why it cannot be used on that type of device (None: on any device of this machine); None if it can be."""

    @abstractmethod
    def state_shape(self, inputs: ScanInputs) -> tuple[int, ...]:
        """The shape of the checkpoints that `forward` saves; must not depend on values, only on shapes and device."""

    @abstractmethod
    def forward(self, inputs: ScanInputs, save: bool) -> tuple[Tensor, Tensor | None]:
        """The output y in the shape of u and in `inputs.dtype()`, and with `save` the checkpoints, in the same dtype.

        y is contiguous, or its transpose (B, L, D) is: see `channels_last`.
        """

    @abstractmethod
    def backward(self, inputs: ScanInputs, state: Tensor, dy: Tensor) -> ScanGradients:
        """The gradients, in any floating dtype; the caller casts each to the dtype of its input."""
