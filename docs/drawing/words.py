"""How pictures and tables name modules, sizes and numbers."""

from collections.abc import Sequence
from itertools import groupby

from torch import nn

from docs.drawing.trace import Unit
from nnunet_ext.architectures.lkm_unet import PatchMamba, PixelMamba
from nnunet_ext.blocks.efficient_sampling import EfficientDownsampling, EfficientUpsampling
from nnunet_ext.blocks.local_token_mixing import LocalTokenMixing, MultiScaleMLP
from nnunet_ext.blocks.meta_block import MetaBlock

SHORT = {EfficientDownsampling: "EDSM", EfficientUpsampling: "EUSM", PixelMamba: "PiM", PatchMamba: "PaM"}
"""What the papers call a class."""


def name(module: nn.Module) -> str:
    """The module's class, with the paper's name for it or what distinguishes this one."""
    title = type(module).__name__
    if isinstance(module, MetaBlock):
        return f"{title}: {len(module.convs)} ConvNorm" + ("" if module.ssm is None else ", MetaSSM")
    if isinstance(module, MultiScaleMLP):
        groups = [group for group in module.groups if isinstance(group, LocalTokenMixing)]
        return f"{title} ({', '.join(str(max(group.block)) for group in groups)})"
    return f"{title} ({SHORT[type(module)]})" if type(module) in SHORT else title


def in_a_row(units: Sequence[Unit], row_channels: int) -> list[tuple[str, list[Unit]]]:
    """Units with a name for each run of equal ones, and the channels where they are not the row's."""

    def named(unit: Unit) -> str:
        wider = isinstance(unit.module, nn.Linear) and unit.channels != row_channels
        return name(unit.module) + (f" to {unit.channels}" if wider else "")

    runs = [(title, list(run)) for title, run in groupby(units, named)]
    return [(title + (f" × {len(run)}" if len(run) > 1 else ""), run) for title, run in runs]


def extent(size: Sequence[int]) -> str:
    """128 × 128 × 128."""
    return " × ".join(map(str, size))


def millions(parameters: int) -> str:
    """A number of parameters with three digits, at least thousands: 64.4 M, 0.12 M, 5 k."""
    if parameters >= 99_500:
        return f"{parameters / 1e6:.3g} M"
    return f"{parameters / 1e3:.0f} k" if parameters >= 1000 else str(parameters)
