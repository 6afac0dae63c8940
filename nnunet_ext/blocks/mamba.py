"""The Mamba-1 block (arXiv 2312.00752, section 3.4 and Figure 3), with the parameters of `mamba_ssm.Mamba`.

Names, shapes and initialisation are those of mamba_ssm, so its state dicts load. Differences: everything is computed in
float32 whatever autocast says (the gated output alone exceeds float16 in practice), and a direction can run backwards
without flipped copies of the sequence.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_ext.ops import causal_conv1d, selective_scan
from nnunet_ext.ops.precision import compute_dtype, no_autocast
from nnunet_ext.ops.selective_scan.registry import choose_backend, computes_pairs


class StateSpaceModel(nn.Module):
    """What stands between the projections of a Mamba block; `projected` channels go in and `d_inner` come out."""

    projected: int
    d_inner: int

    def scan(self, projected: Tensor, reverse: bool) -> Tensor:
        """(B, projected, L) to (B, d_inner, L), in the dtype of `projected`: float32 or float64."""
        raise NotImplementedError


class SelectiveSSM(StateSpaceModel):
    """What a Mamba block does between its projections: causal convolution, input-dependent scan, gate.

    Args:
        d_inner: channels D.
        d_state: states N per channel.
        d_conv: width of the causal convolution.
        dt_rank: rank of the step size's projection.
        dt_min: smallest step size at the start of training.
        dt_max: largest step size at the start of training.
        dt_init: how the weight of dt_proj starts.
        dt_scale: scale of that start.
        dt_init_floor: lower bound of the step size at the start of training.
        conv_bias: whether the convolution has a bias.
    """

    def __init__(
        self,
        d_inner: int,
        d_state: int,
        d_conv: int,
        dt_rank: int,
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init: Literal["random", "constant"] = "random",
        dt_scale: float = 1.0,
        dt_init_floor: float = 1e-4,
        conv_bias: bool = True,
    ) -> None:
        super().__init__()
        self.d_state = d_state
        self.d_inner = d_inner
        self.dt_rank = dt_rank
        self.projected = 2 * d_inner
        self.conv1d = nn.Conv1d(
            self.d_inner, self.d_inner, d_conv, groups=self.d_inner, padding=d_conv - 1, bias=conv_bias
        )
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner)
        _init_dt_proj(self.dt_proj, dt_min, dt_max, dt_init, dt_scale, dt_init_floor)

        # S4D-real: every channel starts with the decays 1, 2, ..., N.
        self.A_log = nn.Parameter(torch.log(torch.arange(1, d_state + 1.0)).repeat(self.d_inner, 1))  # (D, N)
        self.D = nn.Parameter(torch.ones(self.d_inner))
        # Optimisers that look for this mark leave the two out of weight decay.
        self.A_log._no_weight_decay = True  # type: ignore[attr-defined]  # a mark that mamba_ssm also sets
        self.D._no_weight_decay = True  # type: ignore[attr-defined]  # the same

    def scan(self, projected: Tensor, reverse: bool) -> Tensor:
        """Stacked x and z (B, 2D, L) to gated y (B, D, L), in the dtype of `projected`: float32 or float64."""
        return _scan(self.parameters_of_scan(projected.dtype), projected, reverse)

    def parameters_of_scan(self, dtype: torch.dtype) -> "ScanParameters":
        """What `scan` computes with, in that dtype."""
        return ScanParameters(
            conv_weight=self.conv1d.weight.to(dtype).squeeze(1),
            conv_bias=None if self.conv1d.bias is None else self.conv1d.bias.to(dtype),
            x_proj=self.x_proj.weight.to(dtype),
            dt_proj=self.dt_proj.weight.to(dtype),
            dt_bias=self.dt_proj.bias.to(dtype),
            A=-torch.exp(self.A_log.to(dtype)),
            D=self.D.to(dtype),
        )


class ScanParameters(NamedTuple):
    """The parameters of a `SelectiveSSM`, R the rank of its step size; for a pair those of both, along a first axis."""

    conv_weight: Tensor  # (D, W)
    conv_bias: Tensor | None  # (D)
    x_proj: Tensor  # (R + 2N, D)
    dt_proj: Tensor  # (D, R)
    dt_bias: Tensor  # (D)
    A: Tensor  # (D, N)
    D: Tensor  # (D)


def scans_pairs(x: Tensor) -> bool:
    """Whether two scans of tensors like x run at the same time here, as `scan_both_ways` wants."""
    return computes_pairs(choose_backend("auto", x.device.type, x.dtype == torch.float64))


def scan_both_ways(forwards: SelectiveSSM, backwards: SelectiveSSM, projected: Tensor) -> Tensor:
    """`forwards` along the first half of `projected` and `backwards` along the second, at the same time.

    Stacked x and z (2, B, 2D, L) to gated y (2, B, D, L), in the dtype of `projected`: float32 or float64. The models
    have the same sizes, and may be one and the same.
    """
    both = zip(*(model.parameters_of_scan(projected.dtype) for model in (forwards, backwards)), strict=True)
    stacked = [None if first is None or second is None else torch.stack((first, second)) for first, second in both]
    return _scan(ScanParameters(*stacked), projected, reverse=False)  # type: ignore[arg-type]  # None is conv_bias alone


def _scan(parameters: ScanParameters, projected: Tensor, reverse: bool) -> Tensor:
    """Stacked x and z (B, 2D, L) to gated y (B, D, L); of a pair (2, B, 2D, L) to (2, B, D, L)."""
    x, z = projected.chunk(2, dim=-2)  # (B, D, L) each
    x = causal_conv1d(x, parameters.conv_weight, parameters.conv_bias, activation="silu", reverse=reverse)  # (B, D, L)
    rank, states = parameters.dt_proj.shape[-1], parameters.A.shape[-1]
    dt, B, C = _project(x.transpose(-1, -2), parameters.x_proj).split([rank, states, states], dim=-1)  # (B, L, R or N)
    delta = _project(dt, parameters.dt_proj)  # (B, L, D); the scan adds the bias
    return selective_scan(
        x,
        delta.transpose(-1, -2),  # (B, D, L)
        parameters.A,
        B.transpose(-1, -2),  # (B, N, L)
        C.transpose(-1, -2),  # (B, N, L)
        parameters.D,
        z,
        parameters.dt_bias,
        delta_softplus=True,
        reverse=reverse,
    )  # (B, D, L)


def _project(x: Tensor, weight: Tensor) -> Tensor:
    """(B, L, I) and (O, I) to (B, L, O), or each of a pair with its own weight."""
    if x.ndim == 3:
        return F.linear(x, weight)
    return torch.bmm(x.flatten(1, 2), weight.transpose(1, 2)).unflatten(1, x.shape[1:3])


class MambaDirection(SelectiveSSM):
    """A Mamba block up to and including its gate: everything but the output projection.

    Args:
        d_model: channels C of the tokens.
        d_state: states N per channel.
        d_conv: width of the causal convolution.
        expand: inner channels per channel, D = expand * C.
        dt_rank: rank of the step size's projection; "auto" is ceil(C / 16).
        dt_min: smallest step size at the start of training.
        dt_max: largest step size at the start of training.
        dt_init: how the weight of dt_proj starts.
        dt_scale: scale of that start.
        dt_init_floor: lower bound of the step size at the start of training.
        conv_bias: whether the convolution has a bias.
        bias: whether in_proj (and out_proj) has a bias.
        reverse: run from the last token to the first.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | Literal["auto"] = "auto",
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init: Literal["random", "constant"] = "random",
        dt_scale: float = 1.0,
        dt_init_floor: float = 1e-4,
        conv_bias: bool = True,
        bias: bool = False,
        *,
        reverse: bool = False,
    ) -> None:
        d_inner = int(expand * d_model)
        rank = math.ceil(d_model / 16) if dt_rank == "auto" else dt_rank
        super().__init__(d_inner, d_state, d_conv, rank, dt_min, dt_max, dt_init, dt_scale, dt_init_floor, conv_bias)
        self.d_model = d_model
        self.reverse = reverse
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L, C) to gated tokens (B, L, D), in float32 (float64 if the tokens are)."""
        with no_autocast(tokens.device.type):
            xz = linear(self.in_proj, tokens.to(compute_dtype(tokens))).transpose(1, 2)  # (B, 2D, L)
            return self.scan(xz, self.reverse).transpose(1, 2)


class Mamba(MambaDirection):
    """The Mamba block: (B, L, C) to (B, L, C), in the dtype of its input. Arguments: see `MambaDirection`."""

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | Literal["auto"] = "auto",
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init: Literal["random", "constant"] = "random",
        dt_scale: float = 1.0,
        dt_init_floor: float = 1e-4,
        conv_bias: bool = True,
        bias: bool = False,
        *,
        reverse: bool = False,
    ) -> None:
        super().__init__(
            d_model,
            d_state,
            d_conv,
            expand,
            dt_rank,
            dt_min,
            dt_max,
            dt_init,
            dt_scale,
            dt_init_floor,
            conv_bias,
            bias,
            reverse=reverse,
        )
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L, C) to tokens (B, L, C)."""
        with no_autocast(tokens.device.type):
            return linear(self.out_proj, super().forward(tokens)).to(tokens.dtype)


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """The layer applied in the dtype of x, whatever the dtype of its parameters."""
    return F.linear(x, layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype))


def project_each(layers: Sequence[nn.Linear], tokens: Tensor) -> Tensor:
    """Tokens (B, L, C) through each of the layers, all of one size and without bias, to (layers, B, P, L)."""
    weights = [layer.weight.to(tokens.dtype) for layer in layers]
    return F.linear(tokens, torch.cat(weights)).unflatten(-1, (len(weights), -1)).permute(2, 0, 3, 1)


def _init_dt_proj(
    dt_proj: nn.Linear, dt_min: float, dt_max: float, dt_init: str, dt_scale: float, dt_init_floor: float
) -> None:
    """Initialise as mamba_ssm does: softplus(bias) is log-uniform between dt_min and dt_max."""
    bound = dt_proj.in_features**-0.5 * dt_scale
    if dt_init == "constant":
        nn.init.constant_(dt_proj.weight, bound)
    elif dt_init == "random":
        nn.init.uniform_(dt_proj.weight, -bound, bound)
    else:
        raise ValueError(f"dt_init is {dt_init!r}, expected 'random' or 'constant'.")
    log_dt = torch.empty_like(dt_proj.bias).uniform_(math.log(dt_min), math.log(dt_max))  # (D)
    dt = log_dt.exp().clamp(min=dt_init_floor)
    with torch.no_grad():
        dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus
    dt_proj.bias._no_reinit = True  # type: ignore[attr-defined]  # a mark that mamba_ssm also sets
