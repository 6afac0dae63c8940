"""The tables of docs/networks, in Markdown."""

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import nn

import nnunet_ext.trainers as trainers
from docs.drawing.trace import Trace, Unit
from docs.drawing.words import extent, in_a_row
from nnunet_ext.architectures import LKMUNet
from nnunet_ext.architectures.unet import UNet
from nnunet_ext.catalogue import Entry

PACKAGE = "nnunet_ext."


def stages(traced: Trace) -> str:
    """What runs at each resolution, and its parameters."""
    rows = []
    number = 0
    for row in traced.rows:
        rows.append(
            (
                str(number) if row.encoder else "",
                extent(row.size),
                row.channels,
                *_side(row.encoder, row.channels),
                *_side(row.decoder, row.channels),
                *_side(row.heads, row.channels),
            )
        )
        number += bool(row.encoder)
    heads = sum(unit.parameters for row in traced.rows for unit in row.heads)
    inputs = f"Image: {extent(traced.image)}, {traced.classes} classes."
    total = f"Together **{traced.parameters:,}** parameters, of which the logits have {heads:,}."
    heading = ("stage", "map", "channels", "encoder", "parameters", "decoder", "parameters", "logits", "parameters")
    return f"{inputs} {total}\n\n{table(heading, rows)}"


def windows(network: nn.Module, size: Sequence[int]) -> str:
    """What LKM-UNet's Mamba layers do with an image of this size."""
    assert isinstance(network, LKMUNet)
    rows = [
        (
            *(row.stage, row.layer, extent(row.map_size)),
            "whole map" if row.window is None else extent(row.window),
            *(f"{row.sequences:,}", f"{row.tokens:,}"),
        )
        for row in network.plan_of_windows(size)
    ]
    return table(("stage", "layer", "map", "window", "sequences", "tokens of each"), rows)


def blocks(traced: Trace) -> str:
    """The classes of this package that the network is made of: where they are, and the modules that they hold."""
    found: dict[type, nn.Module] = {}
    for unit in traced.units:
        for module in unit.module.modules():
            kept = found.get(type(module))
            if type(module).__module__.startswith(PACKAGE) and (kept is None or _size(module) > _size(kept)):
                found[type(module)] = module
    rows = []
    for kind, module in found.items():
        file = kind.__module__.replace(".", "/") + ".py"
        parts = ", ".join(f"`{name}`: {_kind(child)}" for name, child in module.named_children())
        rows.append((f"`{kind.__name__}`", f"[{file}](../../{file})", parts or "parameters only"))
    return table(("class", "file", "its modules"), rows)


def options(network: type[nn.Module], explained_by: Sequence[type], entries: Sequence[Entry]) -> str:
    """The network's own options: those of its constructor that have to be named and are not nnU-Net's."""
    meanings = _arguments(network)
    for kind in explained_by:
        for name, meaning in _arguments(kind).items():
            if meanings.get(name, "see").startswith("see"):
                meanings[name] = meaning
    fixed = {name for entry in entries for name in _trainer(entry).network_options}
    hints = get_type_hints(network.__init__)
    nnunets = inspect.signature(UNet).parameters
    rows = []
    for name, parameter in inspect.signature(network).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in nnunets:
            default = _value(parameter.default)
            others = [f"`{_value(value)}`" for value in _literals(hints[name]) if value != parameter.default]
            setter = "trainer" if name in fixed else "plans file"
            rows.append((f"`{name}`", f"`{default}`", ", ".join(others), setter, meanings[name]))
    return table(("option", "default", "other values", "set by", "meaning"), rows)


def trainer_options(entries: Iterable[Entry]) -> str:
    """The options that the trainers set."""
    rows = []
    for entry in entries:
        trainer = _trainer(entry)
        chosen = ", ".join(f"`{name}={_value(value)}`" for name, value in trainer.network_options.items())
        supervision = "yes" if trainer.deep_supervision else "no"
        counts = (f"{count:,}" if count else "" for count in (entry.parameters_2d, entry.parameters_3d))
        rows.append((f"`{entry.trainer}`", chosen or "none", supervision, trainer.epochs or 1000, *counts))
    heading = ("trainer", "options that it sets", "deep supervision", "epochs", "parameters, 2D", "parameters, 3D")
    return table(heading, rows)


def table(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; columns that are empty in every row are left out."""
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    kept = [i for i in range(len(heading)) if any(row[i] for row in cells)]
    lines = [[heading[i] for i in kept], ["---"] * len(kept), *([row[i] for i in kept] for row in cells)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _side(units: Sequence[Unit], channels: int) -> tuple[str, str]:
    names = ", ".join(name for name, _ in in_a_row(units, channels))
    return names, f"{sum(unit.parameters for unit in units):,}" if units else ""


def _size(module: nn.Module) -> int:
    return sum(1 for _ in module.modules())


def _kind(module: nn.Module) -> str:
    """The module's class; of a list or sequence the classes in it."""
    if type(module) not in (nn.Sequential, nn.ModuleList):
        return type(module).__name__
    names = [_kind(child) for child in module.children()]
    counted = [f"{names.count(name)} {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]
    return " + ".join(counted) or "nothing"


def _trainer(entry: Entry) -> Any:
    return getattr(trainers, entry.trainer)


def _value(value: object) -> str:
    return value.__name__ if isinstance(value, type) else repr(value).replace("'", '"')


def _literals(hint: Any) -> list[object]:
    """The values that an annotation names."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [value for part in get_args(hint) for value in _literals(part)] + ([True, False] if hint is bool else [])


def _arguments(kind: type) -> dict[str, str]:
    """The meaning of each argument, from the part "Args" of a class's docstring."""
    documentation = inspect.getdoc(kind) or ""
    part = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", documentation, re.DOTALL | re.MULTILINE)
    if part is None:
        return {}
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \S)", "\n" + part.group(1).rstrip())[1:]:
        names, meaning = " ".join(entry.split()).split(": ", 1)
        found |= {name: meaning.rstrip(".") for name in names.split(", ")}
    return found
