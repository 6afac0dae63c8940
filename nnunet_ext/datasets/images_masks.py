"""A plain folder of two-dimensional pictures and masks, from which anyone makes a dataset.

`images/` and `masks/`, or both below each of `train/`, `validation/` and `test/`. A mask has its picture's name, or
that and one of `_mask`, `_seg`, `_gt`, `_label` behind it.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from nnunet_ext.datasets.benchmark import Benchmark, Case, Part, pair
from nnunet_ext.datasets.errors import ConvertError
from nnunet_ext.datasets.source import File, Source

PICTURE = r"\.(?:png|jpe?g|bmp|tiff?)"
IMAGES, MASKS = r"(?:images?|imgs?)", r"(?:masks?|labels?|annotations?)"
ENDING = re.compile(r"_(?:mask|seg|gt|label|0000)$", re.IGNORECASE)
PARTS: dict[str, Part] = {
    r"train(?:ing)?": "train",
    r"val(?:id|idation)?": "validation",
    r"test(?:ing)?": "test",
}


def _find(source: Source, _: str) -> list[Case]:
    cases = []
    for folder, part in PARTS.items():
        # A file of the same name in another part is another case.
        images, masks = (
            {f"{part}_{name}": file for name, file in _files(source, rf"{folder}/{kind}").items()}
            for kind in (IMAGES, MASKS)
        )
        cases += pair(images, masks, part)
    if cases:
        return cases
    return pair(_files(source, IMAGES), _files(source, MASKS), "train")


def _files(source: Source, folder: str) -> dict[str, File]:
    named: dict[str, File] = {}
    for name, file in source.find(rf"{folder}/(?P<id>[^/]+){PICTURE}").items():
        other = named.setdefault(ENDING.sub("", name), file)
        if other is not file:
            raise ConvertError(f"{other.name} and {file.name} name the same case.")
    return named


IMAGES_MASKS = Benchmark(
    name="images-masks",
    dataset_id=829,
    folder="Pictures",
    title="Your own folder of two-dimensional pictures and masks",
    obtain="a folder or archive with images/ and masks/, or with both in each of train/, validation/, test/",
    example="images/case1.png and masks/case1.png",
    licence="Not stated: the data are your own.",
    citations=("Not stated.",),
    channel_names=("R", "G", "B"),
    labels={"background": 0},
    label_map={0: 0},
    splits={"folders": "the folders train, validation and test as they are; without them, nnU-Net's five folds"},
    find=_find,
    file_ending=".png",
    empty_allowed=True,
    coloured_palettes=True,
)


def with_labels(values: Mapping[str, int], folder: str, grey: bool) -> Benchmark:
    """The benchmark for one folder.

    Args:
        values: grey value or palette index of each label in the masks, the background first.
        folder: name of the dataset after its number, letters and digits only.
        grey: whether the pictures have one channel.

    Raises:
        ConvertError: if the names or values do not make a dataset.
    """
    if next(iter(values), "") != "background" or len(values) < 2:
        raise ConvertError(
            "Name the background first, then at least one label: --labels background=0 disc=128 cup=255."
        )
    if len(set(values.values())) != len(values):
        raise ConvertError("Two labels have the same value in the masks: each needs its own.")
    if not re.fullmatch(r"\w+", folder):
        raise ConvertError(f"The name {folder!r} is refused: letters, digits and _ only.")
    names = sorted(values, key=lambda name: name == "ignore")  # nnU-Net wants the largest number for it
    return replace(
        IMAGES_MASKS,
        folder=folder,
        channel_names=("grey",) if grey else ("R", "G", "B"),
        labels={name: index for index, name in enumerate(names)},
        label_map={values[name]: index for index, name in enumerate(names)},
    )
