"""What a benchmark's file declares."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nnunet_ext.datasets.source import File, Source

Part = Literal["train", "validation", "test"]
Fold = dict[str, list[str]]
"""Case names under "train" and "val", as in nnU-Net's splits_final.json."""


@dataclass(frozen=True)
class Case:
    """One image with its label map, or what the source holds of them."""

    name: str
    """nnU-Net's identifier."""
    part: Part
    """train and validation go to imagesTr, test to imagesTs. Validation cases make one official fold."""
    images: tuple[File, ...]
    """One file per channel file; none if the source lacks the case."""
    label: File | None
    """None if the source lacks it, as it does for hidden test cases."""


@dataclass(frozen=True)
class Benchmark:
    """How one benchmark becomes an nnU-Net raw dataset."""

    name: str
    """As the command names it."""
    dataset_id: int
    """Default number of the dataset."""
    folder: str
    """Name of the dataset, after its number."""
    title: str
    obtain: str
    """Address, and what one has to do there."""
    example: str
    """A file of the download by which it is recognised."""
    licence: str
    citations: tuple[str, ...]
    channel_names: tuple[str, ...]
    labels: Mapping[str, int | tuple[int, ...]]
    """Of dataset.json: a name's value, or the values of a region."""
    label_map: Mapping[int, int]
    """Value in the source: value in the dataset. Any other value in the source is an error."""
    splits: Mapping[str, str]
    """What `find` can be asked for, with one sentence each; the first is the default."""
    find: Callable[[Source, str], list[Case]]
    """All cases of a source under one of `splits`; cases that should be there and are not have no images."""
    remarks: str = ""
    """What a user of the converted dataset must know; kept beside the licence."""
    file_ending: str = ".nii.gz"
    """.nii.gz, or .png for two-dimensional pictures."""
    reader: str | None = None
    """nnU-Net's reader, where its own choice does not do."""
    regions_class_order: tuple[int, ...] | None = None
    folds: Callable[[Path], list[Fold]] | None = None
    """Makes the folds from the folder labelsTr, instead of nnU-Net's five random ones."""
    n_cases: tuple[int, int] | None = None
    """Training (with validation) and test cases of the whole download, where no list names them."""
    password: bytes | None = None
    """Published password of the archive."""
    empty_allowed: bool = False
    """Whether a label map without foreground is a case like any other."""
    coloured_palettes: bool = False
    """Whether the values of a picture with a palette of colours are its indices; else they are an error."""
    largest_foreground: float = 1.0
    """Of a picture's area. More means that the mask is inverted or coded in another way."""

    @property
    def n_labels(self) -> int:
        """Number of values in a converted label map, the background included."""
        return max(self.label_map.values()) + 1


def numbered(names: Iterable[str]) -> dict[str, int | tuple[int, ...]]:
    """Background 0, and the names from 1 on."""
    return {name: value for value, name in enumerate(("background", *names))}


def identity(n_foreground: int) -> dict[int, int]:
    """The label map that changes nothing: 0 to `n_foreground`."""
    return {value: value for value in range(n_foreground + 1)}


def pair(
    images: Mapping[str, File], labels: Mapping[str, File], part: Part, expected: Iterable[str] = ()
) -> list[Case]:
    """The cases of every image, label map and `expected` name, whole or not, sorted by name.

    Label maps without an image count only outside the test part, where label maps of other cases may lie beside.
    """
    names = {*images, *expected} | (set(labels) if part != "test" else set())
    return [Case(name, part, (images[name],) if name in images else (), labels.get(name)) for name in sorted(names)]
