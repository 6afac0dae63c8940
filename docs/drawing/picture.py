"""A network drawn as a U: the encoder down the left side, the bottleneck, the decoder up the right side.

Lengths are in inches; y grows downwards. Within a box of the encoder the data runs downwards, in the decoder upwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from torch import nn

from docs.drawing.trace import Row, Trace, Unit
from docs.drawing.words import extent, in_a_row, millions
from nnunet_ext.architectures.lkm_unet import PatchMamba, PixelMamba
from nnunet_ext.architectures.u_mamba import WholeMapMamba
from nnunet_ext.blocks.efficient_sampling import EfficientDownsampling, EfficientUpsampling, Stem
from nnunet_ext.blocks.local_token_mixing import MultiScaleMLP
from nnunet_ext.blocks.meta_block import MetaBlock
from nnunet_ext.blocks.mlla import MLLABlock
from nnunet_ext.blocks.residual import ConvNorm, ResidualBlock

WIDTH = 2.75  # of a box
BETWEEN = 1.5  # from the encoder's boxes to the decoder's
TO_HEAD = 0.45
HEAD = 1.55
CHIP = 0.25
GAP = 0.06  # between chips
PADDING = 0.1
HEADER = 0.3
BETWEEN_ROWS = 0.34
MARGIN = 0.25
TITLE = 0.75
LEGEND = 0.65

ENCODER_X = MARGIN
DECODER_X = ENCODER_X + WIDTH + BETWEEN
BOTTLENECK_X = (ENCODER_X + DECODER_X) / 2
HEAD_X = DECODER_X + WIDTH + TO_HEAD

INK = "#1f2933"
FAINT = "#6b7785"
LINE = "#52606d"
BOX = "#f5f7fa"
BOX_EDGE = "#cbd2d9"
# Fill and edge of each kind of module; distinguishable without colour vision by their lightness.
COLOURS = {
    "token mixing": ("#fbc27f", "#c96a05"),
    "convolutions": ("#bcdcf5", "#2f7dbd"),
    "down- and upsampling": ("#e1e5ea", "#7b8794"),
    "norm or linear layer": ("#ffffff", "#9aa5b1"),
    "logits": ("#bfe5cb", "#2c8a4b"),
}
KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "token mixing": (PixelMamba, PatchMamba, WholeMapMamba, MultiScaleMLP, MLLABlock),
    "down- and upsampling": (
        *(nn.ConvTranspose2d, nn.ConvTranspose3d, nn.MaxPool2d, nn.MaxPool3d),
        *(EfficientDownsampling, EfficientUpsampling),
    ),
    "convolutions": (ConvNorm, ResidualBlock, MetaBlock, Stem),
}


def kind(unit: Unit) -> str:
    """Which of `COLOURS` a module of encoder or decoder has."""
    if isinstance(unit.module, MetaBlock) and unit.module.ssm is not None:
        return "token mixing"
    return next((name for name, classes in KINDS.items() if isinstance(unit.module, classes)), "norm or linear layer")


def description(title: str, subtitle: str, traced: Trace) -> str:
    """The picture in words: what the file holds for readers who cannot see it, and what the tests compare."""
    lines = [f"{title}. {subtitle}", f"image: {extent(traced.image)}"]
    for row in traced.rows:
        parts = {"encoder": row.encoder, "decoder": row.decoder, "logits": row.heads}
        text = [
            f"{side} {', '.join(name for name, _ in in_a_row(units, row.channels))} "
            f"({millions(sum(unit.parameters for unit in units))})"
            for side, units in parts.items()
            if units
        ]
        skip = "" if row.skip is None else f"; skip connection after encoder module {row.skip}"
        lines.append(f"{row.channels} × {extent(row.size)}: {'; '.join(text)}{skip}")
    return "\n".join(lines)


def svg(title: str, subtitle: str, traced: Trace) -> bytes:
    """The picture as a file; the same network gives the same bytes, with the same matplotlib."""
    file = BytesIO()
    metadata = {"Date": None, "Creator": None, "Title": title, "Description": description(title, subtitle, traced)}
    with mpl.rc_context({"svg.hashsalt": "nnunet_ext", "svg.fonttype": "path"}):
        draw(title, subtitle, traced).savefig(file, format="svg", metadata=metadata)
    return b"\n".join(line.strip() for line in file.getvalue().splitlines()) + b"\n"


def draw(title: str, subtitle: str, traced: Trace) -> Figure:
    """The picture."""
    places, bottom = _places(traced)
    right = HEAD_X + HEAD + MARGIN
    height = bottom + LEGEND + MARGIN
    figure = Figure(figsize=(right, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, right), ylim=(height, 0))
    axes.set_axis_off()
    canvas = Canvas(axes)
    canvas.text(MARGIN, MARGIN + 0.12, title, size=15, weight="bold")
    canvas.text(MARGIN, MARGIN + 0.4, subtitle, size=9, colour=FAINT)

    image_y = MARGIN + TITLE
    canvas.chip(ENCODER_X, image_y, WIDTH, f"image  {extent(traced.image)}", "norm or linear layer")
    above = (ENCODER_X + WIDTH / 2, image_y + CHIP)
    for row, (box, _) in zip(traced.rows, places, strict=True):
        if box is None:
            continue
        canvas.box(box)
        last = row is traced.rows[-1]
        if last:
            canvas.path([above, (above[0], box.middle), (box.x, box.middle)])
        else:
            canvas.path([above, (above[0], box.top)])
        above = (box.x + WIDTH / 2, box.bottom)

    bottleneck, _ = places[-1]
    assert bottleneck is not None
    centre = DECODER_X + WIDTH / 2
    below = [(bottleneck.x + WIDTH, bottleneck.middle), (centre, bottleneck.middle)]
    for row, (left, box) in zip(traced.rows[-2::-1], places[-2::-1], strict=True):
        assert box is not None
        canvas.box(box)
        canvas.path([*below, (centre, box.bottom)])
        below = [(centre, box.top)]
        if left is not None and row.skip is not None:
            canvas.skip(left.x + WIDTH, box.x, left.after(row.skip))
        for head in row.heads:
            size = extent((head.channels, *head.size))
            canvas.path([(box.x + WIDTH, box.top_chip), (HEAD_X, box.top_chip)])
            canvas.chip(HEAD_X, box.top_chip - CHIP / 2, HEAD, type(head.module).__name__, "logits")
            canvas.text(HEAD_X + HEAD / 2, box.top_chip + CHIP / 2 + 0.12, size, 7, FAINT, ha="center")
    _legend(canvas, bottom + 0.3, _kinds(traced))
    return figure


@dataclass
class Canvas:
    """What the picture is drawn with."""

    axes: Axes

    def text(
        self, x: float, y: float, text: str, size: float, colour: str = INK, ha: str = "left", weight: str = "normal"
    ) -> None:
        """Text, vertically centred at y."""
        self.axes.text(x, y, text, size=size, color=colour, ha=ha, va="center_baseline", weight=weight)

    def rectangle(self, x: float, y: float, width: float, height: float, fill: str, edge: str, radius: float) -> None:
        """A rectangle with round corners; x and y are its upper left corner."""
        style = f"round,pad=0,rounding_size={radius}"
        self.axes.add_patch(FancyBboxPatch((x, y), width, height, style, facecolor=fill, edgecolor=edge, linewidth=0.8))

    def chip(self, x: float, y: float, width: float, text: str, colour: str) -> None:
        """One module."""
        self.rectangle(x, y, width, CHIP, *COLOURS[colour], radius=0.05)
        self.text(x + width / 2, y + CHIP / 2, text, 8, ha="center")

    def box(self, box: "Box") -> None:
        """The modules of one row on one side."""
        self.rectangle(box.x, box.top, WIDTH, box.height, BOX, BOX_EDGE, radius=0.08)
        baseline = box.top + HEADER / 2 + 0.01
        self.text(box.x + PADDING, baseline, box.title, 8.5, weight="bold")
        self.text(box.x + WIDTH - PADDING, baseline, box.parameters, 7.5, FAINT, ha="right")
        for i, (name, run) in enumerate(box.runs):
            self.chip(box.x + PADDING, box.chip_y(i), WIDTH - 2 * PADDING, name, kind(run[0]))

    def path(self, points: Sequence[tuple[float, float]], **style: Any) -> None:
        """An arrow through these points."""
        *straight, _ = points
        x, y = zip(*straight, strict=True)
        self.axes.plot(x, y, color=LINE, linewidth=1.2, solid_joinstyle="round", solid_capstyle="butt", **style)
        arrow = FancyArrowPatch(*points[-2:], arrowstyle="-|>", mutation_scale=9, shrinkA=0, shrinkB=0, **style)
        arrow.set(color=LINE, linewidth=1.2)
        self.axes.add_patch(arrow)

    def skip(self, start: float, end: float, y: float) -> None:
        """A skip connection from the encoder's edge at `start` to its concatenation at the decoder's, at `end`."""
        self.path([(start, y), (end - 0.09, y)], zorder=0)
        self.axes.add_patch(Circle((start, y), 0.035, color=LINE))
        self.concatenation(end, y)

    def concatenation(self, x: float, y: float) -> None:
        """The sign of a concatenation."""
        self.axes.add_patch(Circle((x, y), 0.09, facecolor="white", edgecolor=LINE, linewidth=1.0, zorder=4))
        self.axes.text(x, y, "c", size=7.5, color=INK, ha="center", va="center_baseline", zorder=5)


class Box:
    """The modules of one row on one side; knows where its arrows start and end once `top` is set."""

    def __init__(self, x: float, row: Row, units: Sequence[Unit], upwards: bool) -> None:
        self.x, self.top = x, 0.0
        self.title = f"{row.channels} × {extent(row.size)}"
        self.parameters = millions(sum(unit.parameters for unit in units))
        self.runs = in_a_row(units, row.channels)
        self.upwards = upwards
        self.height = HEADER + len(self.runs) * (CHIP + GAP) - GAP + PADDING

    def chip_y(self, run: int) -> float:
        """Upper edge of the chip of a run."""
        place = len(self.runs) - 1 - run if self.upwards else run
        return self.top + HEADER + place * (CHIP + GAP)

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.top + self.height

    @property
    def middle(self) -> float:
        """Half way down."""
        return self.top + self.height / 2

    @property
    def top_chip(self) -> float:
        """Middle of the uppermost chip."""
        return self.top + HEADER + CHIP / 2

    def after(self, n_units: int) -> float:
        """Where the data is that the first `n_units` have seen."""
        run = 0
        while n_units > len(self.runs[run][1]):
            n_units -= len(self.runs[run][1])
            run += 1
        return self.chip_y(run) - GAP / 2 if self.upwards else self.chip_y(run) + CHIP + GAP / 2


def _places(traced: Trace) -> tuple[list[tuple[Box | None, Box | None]], float]:
    """The boxes of every row, encoder and decoder, so that skip connections are level; and where the last one ends."""
    left_end = right_end = MARGIN + TITLE - BETWEEN_ROWS  # where a column's last box ends
    if traced.rows[0].encoder:
        left_end += CHIP + BETWEEN_ROWS
    places = []
    for row in traced.rows:
        last = row is traced.rows[-1]
        left = Box(BOTTLENECK_X if last else ENCODER_X, row, row.encoder, upwards=False) if row.encoder else None
        right = Box(DECODER_X, row, row.decoder, upwards=True) if row.decoder else None
        if left:
            left.top = BETWEEN_ROWS + (max(left_end, right_end) if last else left_end)
        if right:
            right.top = BETWEEN_ROWS + right_end
        if left and right and row.skip is not None:
            lower = left.after(row.skip) - right.after(1)
            left.top += max(0, -lower)
            right.top += max(0, lower)
        left_end = left.bottom if left else left_end
        right_end = right.bottom if right else right_end
        places.append((left, right))
    return places, max(left_end, right_end)


def _kinds(traced: Trace) -> list[str]:
    present = {kind(unit) for row in traced.rows for unit in (*row.encoder, *row.decoder)} | {"logits"}
    return [name for name in COLOURS if name in present]


def _legend(canvas: Canvas, y: float, kinds: Sequence[str]) -> None:
    x = MARGIN
    for name in kinds:
        canvas.rectangle(x, y - 0.08, 0.2, 0.16, *COLOURS[name], radius=0.04)
        canvas.text(x + 0.28, y, name, 7.5, FAINT)
        x += 0.5 + 0.068 * len(name)
    y += 0.28
    canvas.concatenation(MARGIN + 0.1, y)
    explained = (
        "concatenation with the skip connection.  The encoder's boxes run downwards, the decoder's upwards; "
        "above: channels × size of the maps, parameters"
    )
    canvas.text(MARGIN + 0.28, y, explained, 7.5, FAINT)
