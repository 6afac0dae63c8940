"""Which scans are measured, and their inputs."""

from typing import NamedTuple

import torch
from torch import Tensor

from nnunet_ext.ops.selective_scan.interface import MAX_STATES


class Case(NamedTuple):
    """The sizes of one scan."""

    batch: int
    channels: int
    length: int
    states: int = 16

    def __str__(self) -> str:
        """(B, D, L), and N where it is not 16."""
        return f"({', '.join(map(str, self if self.states != 16 else self[:3]))})"

    @property
    def elements(self) -> int:
        """B * D * L."""
        return self.batch * self.channels * self.length


# LKM-UNet at a patch of 40x224x192 and batch 2: the windows of two stages, and two pooled maps as one sequence each.
GPU_CASES = (Case(26880, 64, 128), Case(1024, 128, 512), Case(2, 640, 13440), Case(2, 64, 26880))
# One long sequence three times, and many windows.
CPU_CASES = (Case(2, 64, 512), Case(2, 64, 4096), Case(2, 64, 16384), Case(512, 64, 128))


def parse(text: str) -> Case:
    """The case of "B,D,L" or "B,D,L,N".

    Raises:
        ValueError: the text is not three or four positive integers, or N is more than a scan takes.
    """
    numbers = text.split(",")
    if len(numbers) not in (3, 4) or not all(number.strip().isdecimal() and int(number) > 0 for number in numbers):
        raise ValueError(f"shape {text!r} is not understood: give B,D,L or B,D,L,N, for example 1024,128,512")
    case = Case(*map(int, numbers))
    if case.states > MAX_STATES:
        raise ValueError(f"shape {text!r} has {case.states} states (B,D,L,N); at most {MAX_STATES} are possible")
    return case


def make_inputs(case: Case, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Inputs as a Mamba block makes them at the start of training, channels side by side in memory."""
    random = torch.Generator(device).manual_seed(0)

    def sequence(width: int, scale: float = 1.0) -> Tensor:
        rows = torch.randn(case.batch, case.length, width, generator=random, device=device)  # (B, L, D or N)
        return (scale * rows).to(dtype).transpose(1, 2).requires_grad_()

    decays = torch.arange(1.0, case.states + 1, device=device)
    return {
        "u": sequence(case.channels),
        "delta": sequence(case.channels, 0.5),
        "A": (-decays.repeat(case.channels, 1)).requires_grad_(),
        "B": sequence(case.states),
        "C": sequence(case.states),
        "D": torch.ones(case.channels, device=device, requires_grad=True),
        "z": sequence(case.channels),
        "delta_bias": torch.full((case.channels,), -4.0, device=device, requires_grad=True),
    }
