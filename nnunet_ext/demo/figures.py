"""The report's pictures: overlays of truth and predictions, and the learning curve."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nnunet_ext.demo.results import Network

# ITK-SNAP's colours of labels 1 to 16.
# fmt: off
COLOURS = (
    "#FF0000", "#00FF00", "#0000FF", "#FFFF00", "#00FFFF", "#FF00FF", "#FFEFD5", "#0000CD",
    "#CD853F", "#D2B48C", "#66CDAA", "#000080", "#008B8B", "#2E8B57", "#FFE4E1", "#6A5ACD",
)
# fmt: on
LINES = ("#0b5fa5", "#d1700a", "#5b5b5b")
OPACITY = 0.45
PANEL = 2.3
"""Edge of one picture, in inches."""
THICK = 1.5
"""A volume whose slices are so many times thicker than its pixels is shown in the plane of its slices."""

Choice = Callable[[list[npt.NDArray[Any]]], int]
"""Takes the label maps of a case as (slice, row, column), the truth first; returns the slice to show."""


@dataclass(frozen=True)
class Row:
    """One test case: a file of the image, and label files by heading, the truth first."""

    case: str
    image: Path
    labels: dict[str, Path]
    dice: dict[str, float | None]
    """Mean foreground Dice by the heading of a prediction."""


def most_foreground(labels: list[npt.NDArray[Any]]) -> int:
    """The slice where the truth has most foreground."""
    return int(np.argmax(_sums(labels[0] > 0)))


def most_disagreement(labels: list[npt.NDArray[Any]]) -> int:
    """The slice where the truth and the last prediction differ most; if they are equal, that with most foreground."""
    sums = _sums(labels[0] != labels[-1])
    return int(np.argmax(sums)) if sums.any() else most_foreground(labels)


def _sums(mask: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return mask.reshape(len(mask), -1).sum(axis=1)


def overlays(
    rows: list[Row], names: dict[int, str], credit: str, target: Path, choose: Choice = most_foreground
) -> None:
    """Draw one line of pictures per case: image, truth, predictions, on the slice that `choose` takes.

    `credit`, the source and terms of the images, travels inside the PNG file.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    headings = ["image", *rows[0].labels]
    figure = Figure(figsize=(PANEL * len(headings), (PANEL + 0.42) * len(rows) + 0.45), layout="constrained")
    grid: Any = figure.subplots(len(rows), len(headings), squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        image, spacing = read(row.image)
        labels = {heading: read(path)[0] for heading, path in row.labels.items()}
        index = choose(list(labels.values()))
        background = grey(image[index])
        for axis, heading in zip(axes, headings, strict=True):
            _panel(axis, background, labels[heading][index] if heading in labels else None, names, spacing)
            dice = row.dice.get(heading)
            axis.set_title(heading + (f"\nDice {dice:.3f}" if dice is not None else ""), fontsize=8)
        place = f"\nslice {index + 1} of {len(image)}" if len(image) > 1 else ""
        axes[0].set_title(f"{row.case}{place}", fontsize=8)
    patches = [Patch(color=COLOURS[(value - 1) % len(COLOURS)], label=name) for value, name in names.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(6, len(patches)), frameon=False, fontsize=8)
    figure.savefig(target, dpi=110, metadata={"Source": credit})


def learning_curve(networks: list["Network"], target: Path) -> None:
    """Draw validation Dice and losses per epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.8), layout="constrained")
    dice, loss = figure.subplots(1, 2)
    for network, colour in zip(networks, LINES, strict=False):
        epochs = range(1, len(network.pseudo_dice) + 1)
        marker = "o" if len(epochs) < 3 else ""
        dice.plot(epochs, network.pseudo_dice, color=colour, marker=marker, label=network.trainer)
        loss.plot(epochs, network.train_loss, color=colour, marker=marker, label=f"{network.trainer}, training")
        loss.plot(epochs, network.validation_loss, color=colour, marker=marker, linestyle=":", label="validation")
    dice.set(xlabel="epoch", ylabel="foreground Dice, validation patches", ylim=(0, 1))
    loss.set(xlabel="epoch", ylabel="loss (Dice + cross-entropy)")
    for axis in (dice, loss):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(target, dpi=110)


def read(path: Path) -> tuple[npt.NDArray[Any], tuple[float, float]]:
    """The voxels as (slice, row, column[, colour]) in radiological orientation, and the size of a pixel in mm.

    The slices are axial, or those in which a volume of thick slices was taken.
    """
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    if image.GetDimension() == 2:
        across, down = image.GetSpacing()
        return SimpleITK.GetArrayFromImage(image)[np.newaxis], (down, across)
    image = SimpleITK.DICOMOrient(image, "LPS")
    voxels = SimpleITK.GetArrayFromImage(image)
    spacing = list(image.GetSpacing()[::-1])
    axis = int(np.argmax(spacing))
    if spacing[axis] <= THICK * sorted(spacing)[1]:
        axis = 0
    voxels = np.moveaxis(voxels, axis, 0)
    if axis != 0:
        voxels = voxels[:, ::-1]  # coronal and sagittal: the head is up
    down, across = spacing[:axis] + spacing[axis + 1 :]
    return voxels, (down, across)


def grey(picture: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Values from 0 to 1, cut at the first and the 99.5th percentile; (row, column) or (row, column, 3)."""
    picture = picture.astype(np.float64)
    if picture.ndim == 3 and picture.shape[-1] != 3:
        picture = picture[..., 0]
    low, high = np.percentile(picture, [1, 99.5])
    return np.clip((picture - low) / max(high - low, 1e-9), 0, 1)


def _panel(
    axis: "Axes",
    background: npt.NDArray[np.float64],
    labels: npt.NDArray[Any] | None,
    names: dict[int, str],
    spacing: tuple[float, float],
) -> None:
    from matplotlib.colors import to_rgb

    picture = background if background.ndim == 3 else np.repeat(background[..., np.newaxis], 3, axis=-1)
    if labels is not None:
        picture = picture.copy()
        for value in names:
            inside = labels == value
            colour = np.array(to_rgb(COLOURS[(value - 1) % len(COLOURS)]))
            picture[inside] = (1 - OPACITY) * picture[inside] + OPACITY * colour
    axis.imshow(picture, aspect=spacing[0] / spacing[1], interpolation="nearest")
    axis.set_axis_off()
