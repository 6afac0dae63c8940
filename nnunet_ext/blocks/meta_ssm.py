"""MetaSSM: a state space model over a feature map, with the scan orders of Meta Mamba UNet (arXiv 2503.17540).

Known: the module has a slot for scan orders, the best is the map read forwards and backwards at once, "DHW" and
"flip(DHW)", and more orders do not help. Everything else is inferred, therefore an option of `SSMOptions`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Literal, cast, get_args, get_type_hints

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_ext.blocks.mamba import (
    SelectiveSSM,
    StateSpaceModel,
    linear,
    project_each,
    scan_both_ways,
    scans_pairs,
)
from nnunet_ext.blocks.mamba2 import SelectiveSSM2
from nnunet_ext.blocks.recompute import Recomputing
from nnunet_ext.ops.precision import compute_dtype, no_autocast

Scan = Literal["uni", "bi", "tri", "tri_bi"]
Axis = Literal["W", "H", "D"]
Merge = Literal["sum", "mean", "concat_proj"]
Share = Literal["all", "projections", "none"]
SSM = Literal["mamba1", "mamba2"]
Norm = Literal["layer", "instance", "none"]


@dataclass(frozen=True)
class SSMOptions:
    """What a MetaSSM is made of.

    Args:
        scan: "uni", forwards; "bi", also backwards; "tri", forwards with each axis fastest; "tri_bi", these both ways.
        scan_fastest: the map's axis along which neighbours are neighbours in the sequence: W the last, H, D.
        scan_merge: the orders' outputs are summed, averaged or, "concat_proj", stacked before the output projection
            (which is the sum of one output projection per order).
        share_directions: "projections", the orders share the input projection; "all", also the model's parameters;
            "none", each has its own. Two full Mambas are "none" with scan_merge="concat_proj".
        ssm: "mamba1" or "mamba2".
        d_state, d_conv, expand: states, width of the causal convolution, inner channels per channel.
        norm_before_ssm: over the channels of each token, over the tokens of each channel, or none.

    Raises:
        ValueError: for unknown values.
    """

    scan: Scan = "bi"
    scan_fastest: Axis = "W"
    scan_merge: Merge = "sum"
    share_directions: Share = "projections"
    ssm: SSM = "mamba1"
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    norm_before_ssm: Norm = "layer"

    def __post_init__(self) -> None:
        """Check the values."""
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if kind is int and not (isinstance(value, int) and value >= 1):
                raise ValueError(f"{name} is {value}, expected at least 1")
            if kind is not int and value not in get_args(kind):
                raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, get_args(kind)))}")


def scan_orders(options: SSMOptions, n_axes: int) -> list[tuple[int, bool]]:
    """The (fastest axis of the map, backwards) of each order.

    Raises:
        ValueError: if a map of `n_axes` axes has no axis of that name.
    """
    names = ("W", "H", "D")[:n_axes]
    if options.scan_fastest not in names:
        raise ValueError(f"scan_fastest is {options.scan_fastest!r}, but a {n_axes}D map has the axes {names}")
    first = n_axes - 1 - names.index(options.scan_fastest)
    axes = [first]
    if options.scan in ("tri", "tri_bi"):
        axes += [axis for axis in range(n_axes - 1, -1, -1) if axis != first]
    directions = [False, True] if options.scan in ("bi", "tri_bi") else [False]
    return [(axis, reverse) for axis in axes for reverse in directions]


class MetaSSM(Recomputing):
    """Norm, input projection, the model along each scan order, output projection; the residual is the caller's.

    A map (B, C, *size) gives a map of the same shape and dtype; computed in float32 (float64 if the map is).

    Args:
        channels: channels C.
        n_axes: 2 or 3.
        options: see `SSMOptions`.
        recompute: recompute the activations in the backward pass.
    """

    def __init__(self, channels: int, n_axes: int, options: SSMOptions, recompute: bool = False) -> None:
        super().__init__(recompute)
        self.channels = channels
        self.orders = scan_orders(options, n_axes)
        self.directions = 2 if options.scan in ("bi", "tri_bi") else 1
        self.merge = options.scan_merge
        self.d_inner = options.expand * channels
        n_orders = len(self.orders)
        n_models = 1 if options.share_directions == "all" else n_orders
        n_inputs = n_orders if options.share_directions == "none" else 1
        models = [_model(channels, self.d_inner, options) for _ in range(n_models)]
        self.models = nn.ModuleList(models)
        self.in_projs = nn.ModuleList(nn.Linear(channels, models[0].projected, bias=False) for _ in range(n_inputs))
        stacked = n_orders if self.merge == "concat_proj" else 1
        self.out_proj = nn.Linear(stacked * self.d_inner, channels, bias=False)
        self.norm: nn.Module | None = None
        if options.norm_before_ssm == "layer":
            self.norm = nn.LayerNorm(channels)
        elif options.norm_before_ssm == "instance":
            self.norm = nn.InstanceNorm1d(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *size) -> (B, C, *size)."""
        return self.recomputed_in_parts(self._mix, x)

    def _mix(self, x: Tensor) -> Tensor:
        with no_autocast(x.device.type):
            dtype = compute_dtype(x)
            tokens = self._normalised(x.flatten(2).to(dtype))  # (B, L, C), the last axis fastest
            projected = project_each([cast(nn.Linear, layer) for layer in self.in_projs], tokens)  # (inputs, B, P, L)
            n_axes, outputs = x.ndim - 2, []
            for first in range(0, len(self.orders), self.directions):
                fastest = self.orders[first][0] - n_axes
                inputs = projected[first : first + self.directions] if len(projected) > 1 else projected
                ordered = inputs.unflatten(-1, x.shape[2:]).movedim(fastest, -1)  # (inputs, B, P, *reordered size)
                for y in self._along(first, ordered.flatten(3)):  # (B, D, L)
                    outputs.append(y.unflatten(-1, ordered.shape[3:]).movedim(-1, fastest).flatten(2))
            merged = torch.cat(outputs, 1) if self.merge == "concat_proj" else reduce(torch.add, outputs)
            if self.merge == "mean":
                merged = merged / len(outputs)
            return linear(self.out_proj, merged.transpose(1, 2)).transpose(1, 2).to(x.dtype).reshape(x.shape)

    def _along(self, first: int, projected: Tensor) -> Sequence[Tensor]:
        """(1 or 2, B, P, L) to one (B, D, L) for the `first` order, and where it is read both ways for the next one."""
        models = [
            cast(StateSpaceModel, self.models[i % len(self.models)]) for i in range(first, first + self.directions)
        ]
        if len(models) == 2 and scans_pairs(projected):
            forwards, backwards = models
            if isinstance(forwards, SelectiveSSM) and isinstance(backwards, SelectiveSSM):
                return scan_both_ways(forwards, backwards, projected.expand(2, -1, -1, -1)).unbind()
        return [model.scan(projected[i % len(projected)], reverse=i == 1) for i, model in enumerate(models)]

    def _normalised(self, x: Tensor) -> Tensor:
        """(B, C, L) -> tokens (B, L, C)."""
        if isinstance(self.norm, nn.InstanceNorm1d):
            weight, bias = self.norm.weight.to(x.dtype), self.norm.bias.to(x.dtype)
            return F.instance_norm(x, weight=weight, bias=bias, eps=self.norm.eps).transpose(1, 2)
        tokens = x.transpose(1, 2)
        if isinstance(self.norm, nn.LayerNorm):
            weight, bias = self.norm.weight.to(x.dtype), self.norm.bias.to(x.dtype)
            return F.layer_norm(tokens, self.norm.normalized_shape, weight, bias, self.norm.eps)
        return tokens

    def compute_conv_feature_map_size(self, size: Sequence[int]) -> int:
        """Number of values that the layer keeps for one map; with recomputation only its output.

        Per token the normalised token and the output (C each), every input projection, and per order the convolved
        x, delta and y (D each).
        """
        tokens = prod(size)
        if self.recompute:
            return tokens * self.channels
        inputs = sum(cast(nn.Linear, layer).out_features for layer in self.in_projs)
        return tokens * (2 * self.channels + inputs + 3 * self.d_inner * len(self.orders))


def _model(channels: int, d_inner: int, options: SSMOptions) -> StateSpaceModel:
    if options.ssm == "mamba2":
        return SelectiveSSM2(d_inner, options.d_state, options.d_conv)
    return SelectiveSSM(d_inner, options.d_state, options.d_conv, dt_rank=-(-channels // 16))
