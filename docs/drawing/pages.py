"""Which page shows which networks, and how its generated parts come into it.

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import nn

import nnunet_ext.trainers as trainers
from docs.drawing import tables
from docs.drawing.picture import svg
from docs.drawing.plan import CLASSES, IMAGE_CHANNELS, PATCH, planned
from docs.drawing.trace import Trace, trace
from docs.drawing.words import extent, millions
from nnunet_ext import architectures
from nnunet_ext.architectures import LKMUNet, MetaMambaUNet, MixedMLPUNet, MLLAUNet, UMambaBot
from nnunet_ext.blocks.meta_block import MetaBlock
from nnunet_ext.blocks.meta_ssm import SSMOptions
from nnunet_ext.catalogue import ENTRIES, Entry

DOCS = Path(__file__).resolve().parents[1]
PART = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Page:
    """The page of one network; `n_axes` is the dimension of its picture."""

    name: str
    title: str
    network: type[nn.Module]
    n_axes: int
    explained_by: tuple[type, ...] = ()

    @property
    def file(self) -> Path:
        """The page."""
        return DOCS / "networks" / f"{self.name}.md"

    @property
    def picture(self) -> Path:
        """Its picture."""
        return DOCS / "images" / f"{self.name}.svg"

    @cached_property
    def entries(self) -> list[Entry]:
        """The catalogue's trainers of this network."""
        path = f"{architectures.__name__}.{self.network.__name__}"
        return [entry for entry in ENTRIES if getattr(trainers, entry.trainer).network_class == path]

    @cached_property
    def traces(self) -> dict[int, Trace]:
        """What the network of the first trainer does, by number of axes."""
        trainer = self.entries[0].trainer
        return {axes: trace(planned(trainer, axes), IMAGE_CHANNELS, size) for axes, size in PATCH.items()}

    @property
    def subtitle(self) -> str:
        """What the picture is of."""
        parameters = millions(self.traces[self.n_axes].parameters)
        return (
            f"{self.network.__name__} as {self.entries[0].trainer} builds it from nnU-Net's plan for "
            f"{extent(PATCH[self.n_axes])}, {CLASSES} classes: {parameters} parameters"
        )

    def drawn(self) -> bytes:
        """The picture as the code is now."""
        return svg(self.title, self.subtitle, self.traces[self.n_axes])

    def updated(self) -> str:
        """The page with its generated parts as the code is now."""
        parts: dict[str, Callable[[], str]] = {
            "blocks": lambda: tables.blocks(self.traces[self.n_axes]),
            "options": lambda: tables.options(self.network, self.explained_by, self.entries),
            "trainers": lambda: tables.trainer_options(self.entries),
            "stages of the preset": _stages_of_the_preset,
            "windows of the release in 3D": _windows_of_the_release,
        }
        for axes, traced in self.traces.items():
            parts[f"stages in {axes}D"] = partial(tables.stages, traced)
            parts[f"windows in {axes}D"] = partial(tables.windows, traced.network, PATCH[axes])
        return PART.sub(lambda part: f"{part[1]}\n{parts[part[2]]()}\n\n{part[3]}", self.file.read_text())


def _stages_of_the_preset() -> str:
    with torch.device("meta"):
        network = MixedMLPUNet.from_preset("paper", input_channels=3, num_classes=3).eval()
    return tables.stages(trace(network, 3, (256, 256)))


def _windows_of_the_release() -> str:
    return tables.windows(planned("nnUNetTrainerLKMUNetReleased", 3), PATCH[3])


PAGES = (
    Page("lkm_unet", "LKM-UNet", LKMUNet, 3),
    Page("mlla_unet", "MLLA-UNet", MLLAUNet, 2),
    Page("meta_mamba_unet", "Meta-Mamba MM-UNet", MetaMambaUNet, 3, (SSMOptions, MetaBlock)),
    Page("mixed_mlp_unet", "Mixed-MLP MM-UNet", MixedMLPUNet, 2),
    Page("u_mamba", "U-Mamba Bot", UMambaBot, 3),
)
