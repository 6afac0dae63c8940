"""What a backend of the selective scan is."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from nnunet_ext.ops.precision import compute_dtype


class ScanInputs(NamedTuple):
    """The arguments of one scan, in the order of the public function (shapes: see `selective_scan`)."""

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

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Batch, channels D, states N and length L."""
        batch, channels, length = self.u.shape
        return batch, channels, self.A.shape[1], length

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """The eight tensor arguments; None where one is not given."""
        return self[:8]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of state and output: float64 if any input is float64, else float32."""
        return compute_dtype(*self.tensors)

    def upcast(self) -> "ScanInputs":
        """The same inputs, all of them in `self.dtype`."""
        given = {name: tensor for name, tensor in zip(self._fields, self.tensors, strict=False) if tensor is not None}
        return self._replace(**{name: tensor.to(self.dtype) for name, tensor in given.items()})  # type: ignore[arg-type]  # all of them tensors


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

    Inputs arrive in the caller's dtypes and strides, on one device, checked and not empty; autocast is off and no graph
    is being recorded.
    """

    name: str
    float64: bool
    """Whether it computes float64 inputs in float64."""

    @abstractmethod
    def problem(self, device_type: str | None) -> str | None:
        """Why it cannot be used on that type of device (None: on any device of this machine); None if it can be."""

    @abstractmethod
    def state_shape(self, inputs: ScanInputs) -> tuple[int, ...]:
        """The shape of the checkpoints that `forward` saves; must not depend on values, only on shapes and device."""

    @abstractmethod
    def forward(self, inputs: ScanInputs, save: bool) -> tuple[Tensor, Tensor | None]:
        """The output y (B, D, L), contiguous, in `inputs.dtype`, and with `save` the checkpoints, in the same dtype."""

    @abstractmethod
    def backward(self, inputs: ScanInputs, state: Tensor, dy: Tensor) -> ScanGradients:
        """The gradients, in any floating dtype; the caller casts each to the dtype of its input."""
