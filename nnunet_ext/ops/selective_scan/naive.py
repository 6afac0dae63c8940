"""The selective scan as a plain loop over time: the oracle that every other backend is tested against.

Glossary (Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", arXiv 2312.00752):

| here            | paper          | what                                                                             |
|-----------------|----------------|----------------------------------------------------------------------------------|
| u (B, D, L)     | x              | input sequence                                                                   |
| delta (B, D, L) | Delta          | step size, before bias and softplus                                              |
| delta_bias (D)  | Parameter      | bias of the step size (Algorithm 2: Delta = softplus(Parameter + s_Delta(x)))    |
| A (D, N)        | A              | diagonal of the state matrix, per channel                                        |
| B (B, N, L)     | B              | input matrix, depends on the input ("selective")                                 |
| C (B, N, L)     | C              | output matrix, depends on the input                                              |
| D (D)           | D              | skip connection, left out of the paper's equations                               |
| z (B, D, L)     | -              | gate of the Mamba block (Figure 3): the output is multiplied by silu(z)          |
| h (B, D, N)     | h              | hidden state                                                                     |
| decay           | A-bar          | exp(Delta A), equation (4)                                                       |
| drive           | B-bar x        | Delta B x: B-bar to first order (Euler), as all released code computes it        |
| s (B, D, L)     | y              | h C + D u, before the gate                                                       |

The state equations are (2a) and (2b): h_t = A-bar h_(t-1) + B-bar x_t; y_t = C h_t.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunet_ext.ops.precision import no_autocast
from nnunet_ext.ops.selective_scan.backend import ScanInputs

NAME = "naive"


def naive_scan(inputs: ScanInputs) -> Tensor:
    """The scan, through autograd: time and memory grow with L, and both are large.

    Returns:
        (B, D, L), float64 if any input is float64, else float32.
    """
    with no_autocast(inputs.u.device.type):
        u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse = inputs.upcast()
        batch, channels, states, length = inputs.sizes()

        if delta_bias is not None:
            delta = delta + delta_bias[:, None]  # (B, D, L)
        if delta_softplus:
            delta = F.softplus(delta)  # (B, D, L)

        # unbind, as the gradient of every single index would be a tensor of full length.
        u_at, delta_at, B_at, C_at = (x.unbind(-1) for x in (u, delta, B, C))  # L of (B, D) or (B, N)
        h = u.new_zeros(batch, channels, states)  # (B, D, N)
        outputs: list[Tensor] = [u] * length
        for t in reversed(range(length)) if reverse else range(length):
            decay = torch.exp(delta_at[t][:, :, None] * A)  # (B, D, N)
            drive = (delta_at[t] * u_at[t])[:, :, None] * B_at[t][:, None, :]  # (B, D, N)
            h = decay * h + drive  # (B, D, N)
            outputs[t] = (h * C_at[t][:, None, :]).sum(-1)  # (B, D)
        s = torch.stack(outputs, dim=-1)  # (B, D, L)

        if D is not None:
            s = s + D[:, None] * u  # (B, D, L)
        return s if z is None else s * F.silu(z)  # (B, D, L)
