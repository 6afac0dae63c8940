"""One picture with its mask: what counts as a label value, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnunet_ext.datasets import pictures
from nnunet_ext.datasets.benchmark import Benchmark, Case
from nnunet_ext.datasets.errors import CaseError
from nnunet_ext.datasets.images_masks import with_labels
from nnunet_ext.datasets.refuge2 import REFUGE2
from nnunet_ext.datasets.source import Source

from .conftest import Convert
from .patient import mask, photograph

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "DrishtiGS_fundus"
MASK = np.where(mask() == 255, 0, np.where(mask() == 128, 1, 2)).astype(np.uint8)
"""0, 1 and 2."""
GREYS = np.array([255, 128, 0], np.uint8)[MASK]
THREE = with_labels({"background": 0, "rim": 1, "cup": 2}, "Eyes", grey=False)
EXIF = 0x0112

Run = Callable[..., tuple[Path, np.ndarray]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """run(benchmark, picture, mask): as case x; returns the folder that holds the sources, and the labels."""

    def convert(
        benchmark: Benchmark, picture: Image.Image, mask: Image.Image | None, kinds: str = "png png", **options: object
    ):
        source = tmp_path / "source"
        for kind in ("source", "images", "labels"):
            (tmp_path / kind).mkdir()
        ending, mask_ending = kinds.split()
        picture.save(source / f"image.{ending}", **options)
        if mask is not None:
            mask.save(source / f"mask.{mask_ending}")
        files = {file.name.split(".")[0]: file for file in Source(source, tmp_path).files}
        pictures.convert(Case("x", "train", (files["image"],), files.get("mask")), benchmark, tmp_path)
        return tmp_path, np.asarray(Image.open(tmp_path / "labels" / "x.png")) if mask is not None else None

    return convert


def palette(colours: list[tuple[int, int, int]], indices: np.ndarray = MASK) -> Image.Image:
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette([part for colour in colours for part in colour])
    return picture


def greys(*levels: int) -> list[tuple[int, int, int]]:
    return [(level,) * 3 for level in levels]


RED_GREEN = [(0, 0, 0), (255, 0, 0), (0, 255, 0)]


@pytest.mark.parametrize(
    ("given", "ending"),
    [
        (Image.fromarray(GREYS), "bmp"),
        (palette(greys(255, 128, 0)), "bmp"),
        (palette(greys(255, 128, 0)), "png"),
        (palette(greys(0, 128, 255), 2 - MASK), "png"),
        (Image.fromarray(GREYS).convert("RGB"), "bmp"),
        (Image.fromarray(GREYS).convert("RGBA"), "png"),
    ],
)
def test_refuge_masks_in_every_dress(given: Image.Image, ending: str, run: Run) -> None:
    _, labels = run(REFUGE2, photograph(MASK), given, f"jpg {ending}")
    assert np.array_equal(labels, MASK)


def test_indices_of_a_coloured_palette_are_labels_of_images_masks(run: Run) -> None:
    _, labels = run(THREE, photograph(MASK), palette(RED_GREEN))
    assert np.array_equal(labels, MASK)


def test_black_and_white_and_sixteen_bits(run: Run) -> None:
    lesion = with_labels({"background": 0, "lesion": 255}, "Eyes", grey=False)
    _, labels = run(lesion, photograph(MASK), Image.fromarray(MASK > 0))
    assert np.array_equal(labels, MASK > 0)


def test_sixteen_bits(run: Run) -> None:
    far = with_labels({"background": 0, "rim": 1000, "cup": 2000}, "Eyes", grey=False)
    _, labels = run(far, photograph(MASK), Image.fromarray(MASK.astype(np.uint16) * 1000))
    assert np.array_equal(labels, MASK)


def transparent(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGBA")
    picture.putpixel((0, 0), (0, 0, 0, 0))
    return picture


@pytest.mark.parametrize(
    ("benchmark", "picture", "given", "kinds", "words"),
    [
        (REFUGE2, photograph(MASK), palette(RED_GREEN), "jpg bmp", "palette of colours"),
        (REFUGE2, photograph(MASK), Image.fromarray(255 - GREYS), "jpg bmp", "of the picture would be foreground"),
        (REFUGE2, photograph(MASK), Image.fromarray(MASK), "jpg bmp", "of the picture would be foreground"),
        (THREE, photograph(MASK), palette(RED_GREEN).convert("RGB"), "png png", "mask is coloured"),
        (THREE, photograph(MASK), transparent(Image.fromarray(MASK)), "png png", "partly transparent"),
        (THREE, photograph(MASK), Image.fromarray(MASK), "png jpg", "the mask is a JPEG"),
        (THREE, photograph(MASK), Image.fromarray(MASK * 3), "png png", "holds the values 3, 6, expected 0 to 2"),
        (THREE, photograph(MASK), Image.fromarray(MASK.T.copy()), "png png", "24 x 20 pixels, its mask 20 x 24"),
        (THREE, Image.fromarray(MASK), Image.fromarray(MASK), "png png", r"has 1 channel\(s\), expected 3"),
        (THREE, photograph(MASK).convert("CMYK"), Image.fromarray(MASK), "jpg png", "mode CMYK"),
        (THREE, transparent(photograph(MASK)), Image.fromarray(MASK), "png png", "picture is partly transparent"),
    ],
)
def test_what_is_not_certain_is_refused(benchmark, picture, given, kinds: str, words: str, run: Run) -> None:
    with pytest.raises(CaseError, match=words):
        run(benchmark, picture, given, kinds)


def test_pictures_lose_nothing(run: Run) -> None:
    folder, _ = run(THREE, photograph(MASK), Image.fromarray(MASK), "jpg png", quality=60)
    decoded = np.asarray(Image.open(folder / "source" / "image.jpg"))
    assert np.array_equal(np.asarray(Image.open(folder / "images" / "x_0000.png")), decoded)


def test_a_plain_png_is_copied(run: Run) -> None:
    folder, _ = run(THREE, photograph(MASK), Image.fromarray(MASK))
    assert (folder / "images" / "x_0000.png").read_bytes() == (folder / "source" / "image.png").read_bytes()


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_other_pngs_become_three_channels(mode: str, run: Run) -> None:
    folder, _ = run(THREE, photograph(MASK).convert(mode), Image.fromarray(MASK))
    written = Image.open(folder / "images" / "x_0000.png")
    assert written.mode == "RGB"
    original = Image.open(folder / "source" / "image.png").convert("RGB")
    assert np.array_equal(np.asarray(written), np.asarray(original))


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[EXIF] = orientation
    return found


@pytest.mark.parametrize("turned", [False, True])
def test_a_camera_s_turn_is_made_if_the_mask_was_drawn_on_the_turned_picture(turned: bool, run: Run) -> None:
    given = Image.fromarray(np.rot90(MASK, -1).copy() if turned else MASK)
    folder, labels = run(THREE, photograph(MASK), given, "jpg png", exif=exif(6))
    written = np.asarray(Image.open(folder / "images" / "x_0000.png"))
    stored = np.asarray(Image.open(folder / "source" / "image.jpg"))
    assert np.array_equal(written, np.rot90(stored, -1) if turned else stored)
    assert written.shape[:2] == labels.shape


@pytest.mark.parametrize(("orientation", "given"), [(3, Image.fromarray(MASK)), (6, None)])
def test_a_turn_that_is_not_certain_is_refused(orientation: int, given: Image.Image | None, run: Run) -> None:
    with pytest.raises(CaseError, match="EXIF tag asks for a turn"):
        run(THREE, photograph(MASK), given, "jpg png", exif=exif(orientation))


def test_a_folder_of_tiffs(convert: Convert, verify: Callable[[Path], None], tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / "mine" / kind).mkdir(parents=True)
    for number, (ending, compression) in enumerate([("tif", None), ("tiff", "tiff_lzw"), ("TIF", "tiff_deflate")] * 2):
        file = f"scan {number}.{ending}"
        photograph(MASK, number).save(tmp_path / "mine" / "images" / file, compression=compression)
        Image.fromarray(MASK).save(tmp_path / "mine" / "masks" / file, compression=compression)
    labels = ["--labels", "background=0", "rim=1", "cup=2"]
    done = convert("images-masks", tmp_path / "mine", *labels)
    assert done.code == 0, done.output
    assert done.names("labelsTr") == [f"scan {number}.png" for number in range(6)]
    for number in range(6):
        written = Image.open(done.dataset / "imagesTr" / f"scan {number}_0000.png")
        assert np.array_equal(np.asarray(written), np.asarray(photograph(MASK, number)))
        assert np.array_equal(np.asarray(Image.open(done.dataset / "labelsTr" / f"scan {number}.png")), MASK)
    verify(done.dataset)


SIXTEEN_BITS = MASK.astype(np.uint16) * 30000 + 7


@pytest.mark.parametrize("values", [SIXTEEN_BITS, SIXTEEN_BITS.astype(">u2"), SIXTEEN_BITS.astype(np.int32)])
def test_grey_tiffs_of_more_bits_lose_nothing(values: np.ndarray, tmp_path: Path) -> None:
    folder = tiff(values, MASK, tmp_path)
    written = np.asarray(Image.open(folder / "images" / "x_0000.png"))
    assert np.array_equal(written, SIXTEEN_BITS)


def test_a_mask_in_the_other_order_of_bytes(tmp_path: Path) -> None:
    folder = tiff(SIXTEEN_BITS, MASK.astype(">u2"), tmp_path)
    assert np.array_equal(np.asarray(Image.open(folder / "labels" / "x.png")), MASK)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.stack([SIXTEEN_BITS] * 3, axis=-1), "16 bits in each colour, of which reading it keeps 8"),
        (SIXTEEN_BITS.astype(np.int32) + 10000, "holds the value 70007, expected 0 to 65535"),
        (SIXTEEN_BITS / 2, "mode F"),
        (np.stack([MASK] * 2), "the file holds 2 pictures, expected one"),
    ],
)
def test_tiffs_that_would_lose_something_are_refused(values: np.ndarray, words: str, tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=words):
        tiff(values, MASK, tmp_path)


def tiff(picture: np.ndarray, labels: np.ndarray, folder: Path) -> Path:
    """The picture and its mask, written by tifffile as microscopes' programs write them, and converted as case x."""
    import tifffile

    source = folder / "source"
    for path in (source, folder / "images", folder / "labels"):
        path.mkdir()
    for name, values in (("image", picture), ("mask", labels)):
        values = values.astype(np.float32) if values.dtype.kind == "f" else values
        order = {">": ">", "<": "<"}.get(values.dtype.byteorder, "<")
        tifffile.imwrite(source / f"{name}.tif", values, byteorder=order, photometric=photometric(values))
    image, mask = Source(source, folder).files
    benchmark = with_labels({"background": 0, "rim": 1, "cup": 2}, "Cells", grey=picture.shape[-1] != 3)
    pictures.convert(Case("x", "train", (image,), mask), benchmark, folder)
    return folder


def photometric(values: np.ndarray) -> str:
    return "rgb" if values.shape[-1] == 3 else "minisblack"


@pytest.mark.parametrize("damaged", ["image", "mask"])
def test_a_damaged_file_is_named_as_in_the_source(damaged: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for path in (source, tmp_path / "images", tmp_path / "labels"):
        path.mkdir()
    photograph(MASK).save(source / "image.png")
    Image.fromarray(MASK).save(source / "mask.png")
    file = source / f"{damaged}.png"
    file.write_bytes(file.read_bytes()[:-200] if damaged == "image" else b"an error\npage")
    image, mask = Source(source, tmp_path).files
    with pytest.raises(CaseError, match=rf"^{damaged}\.png is not readable \(\w+: ") as told:
        pictures.convert(Case("x", "train", (image,), mask), THREE, tmp_path)
    assert "\n" not in str(told.value)


def test_ignore_gets_the_largest_number(run: Run) -> None:
    """As nnU-Net wants it, whatever the order on the command line."""
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    benchmark = with_labels({"background": 0, "ignore": 255, "spot": 1}, "Eyes", grey=False)
    assert benchmark.labels == {"background": 0, "spot": 1, "ignore": 2}
    assert LabelManager(dict(benchmark.labels), None).ignore_label == 2
    _, labels = run(benchmark, photograph(MASK), Image.fromarray(np.array([0, 255, 1], np.uint8)[MASK]))
    assert np.array_equal(labels, np.array([0, 2, 1])[MASK])


def test_real_photographs(tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip(f"needs {DATA}, which is not part of the repository")
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    (image,) = (f for f in Source(DATA, tmp_path).files if f.name.endswith("jpg_images/drishtiGS_002.jpg"))
    (given,) = (f for f in Source(DATA, tmp_path).files if f.name.endswith("refuge_style_masks/drishtiGS_002.png"))
    pictures.convert(Case("x", "train", (image,), given), REFUGE2, tmp_path)
    labels = np.asarray(Image.open(tmp_path / "labels" / "x.png"))
    original = np.asarray(Image.open(given.path))
    assert np.array_equal(labels == 2, original == 0)
    assert np.array_equal(labels > 0, original < 255)
