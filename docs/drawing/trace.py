"""What a network does with an image, stage by stage: recorded while it runs.

The network runs on PyTorch's meta device, which computes shapes and no values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_ext.architectures import mlla_unet, unet
from nnunet_ext.architectures.lkm_unet import LargeKernelMamba
from nnunet_ext.architectures.mixed_mlp_unet import MixedStage
from nnunet_ext.blocks.efficient_sampling import EfficientDownsampling, EfficientUpsampling
from nnunet_ext.blocks.meta_block import MetaStage
from nnunet_ext.blocks.mlla import MLLABlock
from nnunet_ext.blocks.residual import ResidualStage

OPENED = (
    *(nn.Sequential, nn.ModuleList, nn.ModuleDict, ResidualStage, MetaStage, MixedStage, LargeKernelMamba),
    *(unet.Encoder, unet.Decoder, mlla_unet.Encoder, mlla_unet.Decoder),
)
"""Modules that only put others in a row: these others are what a picture shows. Subclasses are not opened."""

CHANNELS_LAST = (nn.Linear, nn.LayerNorm, MLLABlock, EfficientDownsampling, EfficientUpsampling)
"""Modules whose maps are (B, *size, C); those of all others are (B, C, *size)."""

HEADS = ("decoder.seg_layers.",)


@dataclass(frozen=True)
class Unit:
    """One module of a picture, and what it returned."""

    path: str
    module: nn.Module
    channels: int
    size: tuple[int, ...]

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.module.parameters())


@dataclass
class Row:
    """What runs at one resolution, in the order in which it runs.

    `skip` is the number of encoder units before the skip connection leaves, None where there is none.
    """

    size: tuple[int, ...]
    encoder: list[Unit] = field(default_factory=list)
    decoder: list[Unit] = field(default_factory=list)
    heads: list[Unit] = field(default_factory=list)
    skip: int | None = None

    @property
    def units(self) -> list[Unit]:
        """All modules of the row."""
        return [*self.encoder, *self.decoder, *self.heads]

    @property
    def channels(self) -> int:
        """Channels of what leaves the encoder here; where nothing does, of what leaves the decoder."""
        if self.skip is not None:
            return self.encoder[self.skip - 1].channels
        return (self.encoder or self.decoder)[-1].channels


@dataclass
class Trace:
    """A network's rows, full resolution first; the last one is the bottleneck."""

    network: nn.Module
    image: tuple[int, ...]
    """Channels and size."""
    classes: int
    rows: list[Row]

    @property
    def units(self) -> list[Unit]:
        """All modules of the picture."""
        return [unit for row in self.rows for unit in row.units]

    @property
    def parameters(self) -> int:
        """Number of parameters of the whole network."""
        return sum(parameter.numel() for parameter in self.network.parameters())


def trace(network: nn.Module, channels: int, size: Sequence[int]) -> Trace:
    """Run a network once on an image of this size.

    Raises:
        ValueError: if a parameter belongs to none of the modules that ran, so that the picture would lack it.
    """
    units: list[Unit] = []
    outputs: list[Tensor] = []
    maps: list[Tensor] = []

    def record(path: str) -> Any:
        def hook(module: nn.Module, _: Any, output: Tensor) -> None:
            last = isinstance(module, CHANNELS_LAST)
            width, *length = output[0].movedim(-1, 0).shape if last else output.shape[1:]
            units.append(Unit(path, module, width, tuple(length)))
            outputs.append(output)

        return hook

    hooks = [module.register_forward_hook(record(path)) for path, module in shown(network)]
    hooks.append(network.get_submodule("encoder").register_forward_hook(lambda *run: maps.extend(run[2])))
    with torch.device("meta"), torch.no_grad():
        logits = network(torch.zeros(1, channels, *size))
    for hook in hooks:
        hook.remove()
    first = logits[0] if isinstance(logits, list) else logits

    rows = {tuple(size): Row(tuple(size))}
    for unit in units:
        row = rows.setdefault(unit.size, Row(unit.size))
        side = row.heads if unit.path.startswith(HEADS) else getattr(row, unit.path.split(".")[0])
        side.append(unit)
    sources = [max(i for i, output in enumerate(outputs) if _same(output, tensor)) for tensor in maps]
    for source in sources[:-1]:
        row = rows[units[source].size]
        row.skip = row.encoder.index(units[source]) + 1
    result = Trace(network, (channels, *size), first.shape[1], list(rows.values()))
    if missing := result.parameters - sum(unit.parameters for unit in units):
        raise ValueError(f"{missing} parameters of {type(network).__name__} are in none of the modules that ran")
    return result


def shown(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules that a picture shows, with their paths."""
    for name, child in module.named_children():
        child_path = f"{path}.{name}" if path else name
        if type(child) in OPENED:
            yield from shown(child, child_path)
        elif not isinstance(child, nn.Identity):
            yield child_path, child


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are one, seen perhaps with its axes in another order."""
    return (a if a._base is None else a._base) is (b if b._base is None else b._base)
