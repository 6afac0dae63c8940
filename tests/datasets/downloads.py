"""Each benchmark's download with its exact names and folders, filled with tiny contents of our own."""

import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from nnunet_ext.datasets import organs

from .patient import image_of, label_map, mask, photograph, save

MACOS = b"\x00\x05\x16\x07 a resource fork, no image"


def zipped(folder: Path, archive: Path, macos: bool = False) -> Path:
    """Put everything in `folder` into a zip archive and delete it."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as target:
        for file in sorted(folder.rglob("*")):
            name = file.relative_to(folder).as_posix()
            target.write(file, name)
            if macos and file.is_file():
                target.writestr(f"__MACOSX/{Path(name).parent.as_posix()}/._{file.name}", MACOS)
    shutil.rmtree(folder)
    return archive


class Pair:
    """Writes the same image and label map under many names, encoded once."""

    def __init__(self, folder: Path, names: Sequence[str], codes: str = "LPS", dtype: str = "uint8", scale: int = 1):
        label = label_map(names, codes, scale, dtype)
        self.image = save(image_of(label), folder, "image.nii.gz").read_bytes()
        self.label = save(label, folder, "label.nii.gz").read_bytes()
        shutil.rmtree(folder)

    def write(self, image: Path | None, label: Path | None) -> None:
        for path, content in ((image, self.image), (label, self.label)):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def flare22(folder: Path) -> Path:
    """The full download, unpacked, its tuning part still an archive; orientations are mixed."""
    root = folder / "FLARE22"
    labelled = root / "Training" / "FLARE22_LabeledCase50"
    for number in range(1, 51):
        pair = pairs(folder, organs.FLARE)[number % 2]
        pair.write(
            labelled / "images" / f"FLARE22_Tr_{number:04d}_0000.nii.gz",
            labelled / "labels" / f"FLARE22_Tr_{number:04d}.nii.gz",
        )
    pair.write(root / "Training" / "FLARE22_UnlabeledCase1-1000" / "Case_00001_0000.nii.gz", None)
    pair.write(root / "Testing" / "FLARETs_0001_0000.nii.gz", None)
    for number in (1, 2):
        tuning = folder / "tuning" / "Tuning"
        pair.write(
            tuning / "images" / f"FLARETs_{number:04d}_0000.nii.gz", tuning / "labels" / f"FLARETs_{number:04d}.nii.gz"
        )
    zipped(folder / "tuning", root / "Tuning.zip")
    return root


_PAIRS: dict[tuple[str, ...], tuple[Pair, Pair]] = {}


def pairs(folder: Path, names: Sequence[str]) -> tuple[Pair, Pair]:
    """Two pairs, in two orientations."""
    key = tuple(names)
    if key not in _PAIRS:
        _PAIRS[key] = Pair(folder / "pair", names, "LPS"), Pair(folder / "pair", names, "RAS")
    return _PAIRS[key]


def amos22(folder: Path) -> Path:
    """amos22.zip: CT and MR, uint16 label maps, the typing errors of its dataset.json, resource forks."""
    root = folder / "zip" / "amos22"
    pair = Pair(folder / "pair", organs.AMOS, "LAS", "uint16")
    lists = {
        "Tr": [1, 4, 5, 6, 7, 507, 508, 510, 514, 517],
        "Va": [8, 13, 518, 519],
        "Ts": [2, 3, 501, 502],
    }
    for part, numbers in lists.items():
        for number in numbers:
            label = None if part == "Ts" else root / f"labels{part}" / f"amos_{number:04d}.nii.gz"
            pair.write(root / f"images{part}" / f"amos_{number:04d}.nii.gz", label)
    names = ["background", *organs.AMOS]
    names[8], names[9] = "arota", "postcava"

    def entries(part: str) -> list[dict[str, str]]:
        file = "{}/amos_{:04d}.nii.gz"
        return [
            {"image": "./" + file.format(f"images{part}", n), "label": "./" + file.format(f"labels{part}", n)}
            for n in lists[part]
        ]

    description = {
        "name": "AMOS",
        "licence": "see the website",
        "modality": {"0": "CT"},
        "labels": {str(value): name for value, name in enumerate(names)},
        "training": entries("Tr"),
        "validation": entries("Va"),
        "test": entries("Ts"),
    }
    (root / "dataset.json").write_text(json.dumps(description))
    (root / "readme.md").write_text("120 test data\n")
    return zipped(folder / "zip", folder / "amos22.zip", macos=True)


def synapse(folder: Path, scale: int = 1) -> Path:
    """RawData.zip, with its folder doubled."""
    root = folder / "zip" / "Abdomen" / "RawData"
    pair = Pair(folder / "pair", organs.BTCV, "LAS", scale=scale)
    for number in (*range(1, 11), *range(21, 41)):
        training = root / "Training"
        pair.write(training / "img" / f"img{number:04d}.nii.gz", training / "label" / f"label{number:04d}.nii.gz")
    for number in range(61, 81):
        pair.write(root / "Testing" / "img" / f"img{number:04d}.nii.gz", None)
    return zipped(folder / "zip", folder / "RawData.zip")


def refuge2(folder: Path) -> Path:
    """A folder with the six archives; masks as grey, palette and RGB bitmaps."""
    root = folder / "REFUGE"
    root.mkdir(parents=True)
    values = mask()
    grey = Image.fromarray(values)
    levels = np.unique(values)
    palette = Image.fromarray(np.searchsorted(levels, values).astype(np.uint8)).convert("P")
    palette.putpalette(np.repeat(levels, 3).tobytes())
    photograph(values).save(folder / "photograph.jpg", quality=95)
    picture = (folder / "photograph.jpg").read_bytes()
    bitmaps = []
    for kind in (grey, palette, grey.convert("RGB")):
        kind.save(folder / "mask.bmp")
        bitmaps.append((folder / "mask.bmp").read_bytes())

    def archive(name: str, members: dict[str, bytes]) -> None:
        with zipfile.ZipFile(root / name, "w") as target:
            for member, content in members.items():
                target.writestr(member, content)

    training = {f"g{n:04d}": "Glaucoma" for n in range(1, 41)} | {f"n{n:04d}": "Non-Glaucoma" for n in range(1, 361)}
    archive(
        "REFUGE-Training400.zip",
        {f"REFUGE-Training400/Training400/{kind}/{name}.jpg": picture for name, kind in training.items()},
    )
    archive(
        "Annotation-Training400.zip",
        {
            f"Annotation-Training400/Disc_Cup_Masks/{kind}/{name}.bmp": bitmaps[int(name[1:]) % 3]
            for name, kind in training.items()
        }
        | {"Annotation-Training400/Fovea_location.xlsx": b"a table"},
    )
    numbers = range(1, 401)
    archive("REFUGE-Validation400.zip", {f"REFUGE-Validation400/V{n:04d}.jpg": picture for n in numbers})
    archive(
        "REFUGE-Validation400-GT.zip",
        {f"REFUGE-Validation400-GT/Disc_Cup_Masks/V{n:04d}.bmp": bitmaps[0] for n in numbers},
    )
    archive("REFUGE-Test400.zip", {f"Test400/T{n:04d}.jpg": picture for n in numbers})
    archive(
        "REFUGE-Test-GT.zip",
        {f"REFUGE-Test-GT/Disc_Cup_Masks/{'G' if n <= 40 else 'N'}/T{n:04d}.bmp": bitmaps[0] for n in numbers},
    )
    return root


def acdc(folder: Path) -> Path:
    """ACDC.zip, with the four-dimensional files and the citation that must be kept."""
    root = folder / "zip" / "ACDC" / "database"
    pair = Pair(folder / "pair", ("RV", "MLV", "LVC"))
    for number in range(1, 151):
        patient = root / ("training" if number <= 100 else "testing") / f"patient{number:03d}"
        for frame in (1, 9 + number % 7):
            stem = f"{patient.name}_frame{frame:02d}"
            pair.write(patient / f"{stem}.nii.gz", patient / f"{stem}_gt.nii.gz")
        (patient / f"{patient.name}_4d.nii.gz").write_bytes(b"four axes, never read")
        (patient / "Info.cfg").write_text(f"ED: 1\nES: {9 + number % 7}\n")
    (root / "MANDATORY_CITATION.md").write_text("Cite Bernard et al.\n")
    return zipped(folder / "zip", folder / "ACDC.zip")


def word(folder: Path) -> Path:
    """WORD-V0.1.0, unpacked."""
    root = folder / "WORD-V0.1.0"
    pair = Pair(folder / "pair", organs.WORD)
    for part, numbers in {"Tr": (2, 3, 4, 5, 6, 8), "Val": (1, 7), "Ts": (14, 60)}.items():
        for number in numbers:
            name = f"word_{number:04d}.nii.gz"
            pair.write(root / f"images{part}" / name, root / f"labels{part}" / name)
    return root


def atlas2023(folder: Path) -> Path:
    """atlas-train-dataset-1.0.1.zip; ids without zeros in front."""
    root = folder / "zip" / "atlas-train-dataset-1.0.1" / "train"
    pair = Pair(folder / "pair", ("liver", "tumour"))
    for number in range(60):
        pair.write(root / "imagesTr" / f"im{number}.nii.gz", root / "labelsTr" / f"lb{number}.nii.gz")
    (root / "dataset.json").write_text("{}")
    return zipped(folder / "zip", folder / "atlas-train-dataset-1.0.1.zip")


def images_masks(folder: Path) -> Path:
    """A user's folder: JPEG pictures, PNG masks with a name of their own, one without foreground."""
    root = folder / "mine"
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for number in range(8):
        values = mask()
        if number == 0:
            values[:] = 255
        values[(values != 0) & (values != 128)] = 255
        photograph(values, number).save(root / "images" / f"eye {number}.jpg")
        Image.fromarray(values).save(root / "masks" / f"eye {number}_mask.png")
    return root


DOWNLOADS: dict[str, Callable[[Path], Path]] = {
    "flare22": flare22,
    "amos22-ct": amos22,
    "amos22-mr": amos22,
    "amos22-mr13": amos22,
    "synapse": synapse,
    "refuge2": refuge2,
    "acdc": acdc,
    "word": word,
    "atlas2023": atlas2023,
    "images-masks": images_masks,
}
