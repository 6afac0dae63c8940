"""REFUGE2: 1200 fundus photographs with optic disc and cup (those of REFUGE1; the later ones have no public masks).

The masks are inverted: 0 is the cup, 128 the rim of the disc, 255 the background, with greys between them at the edges.
They are cut at 100 and 150. The disc contains the cup, so it is a region.
"""

from nnunet_ext.datasets.benchmark import Benchmark, Case, Part, pair
from nnunet_ext.datasets.source import Source

CUP, DISC = 100, 150
"""Largest grey values of cup and disc."""
TRAINING = [f"g{number:04d}" for number in range(1, 41)] + [f"n{number:04d}" for number in range(1, 361)]
N_VALIDATION = N_TEST = 400


def _find(source: Source, split: str) -> list[Case]:
    cases = []
    parts: tuple[tuple[str, list[str], Part], ...] = (
        ("[gn]", TRAINING, "train"),
        (
            "V",
            [f"V{number:04d}" for number in range(1, N_VALIDATION + 1)],
            "train" if split == "crossval" else "validation",
        ),
        ("T", [f"T{number:04d}" for number in range(1, N_TEST + 1)], "test"),
    )
    for letter, expected, part in parts:
        images = source.find(rf"(?P<id>{letter}\d{{4}})\.jpe?g")
        masks = source.find(rf"Disc_Cup_Masks/(?:[^/]+/)?(?P<id>{letter}\d{{4}})\.(?:bmp|png)")
        cases += pair(images, masks, part, expected)
    return cases


REFUGE2 = Benchmark(
    name="refuge2",
    dataset_id=825,
    folder="REFUGE2",
    title="REFUGE2, fundus photographs, optic disc and cup",
    obtain="https://refuge.grand-challenge.org (registration): training, validation and test images, and their three "
    "archives of masks, in one folder",
    example="Training400/Glaucoma/g0001.jpg",
    licence="Terms of the challenge: research only (by report; read them when you register).",
    citations=(
        "Orlando J. I. et al. REFUGE challenge: a unified framework for evaluating automated methods for glaucoma "
        "assessment from fundus photographs. Medical Image Analysis 59, 2020.",
        "Fang H. et al. REFUGE2 challenge: a treasure trove for multi-dimension analysis and evaluation in glaucoma "
        "screening. arXiv 2202.08994, 2022.",
    ),
    channel_names=("R", "G", "B"),
    labels={"background": 0, "optic_disc": (1, 2), "optic_cup": 2},
    label_map={grey: 2 if grey <= CUP else 1 if grey <= DISC else 0 for grey in range(256)},
    splits={
        "official": "400 training images train, 400 validation images validate, as one fold; 400 test images are "
        "imagesTs, labelsTs",
        "crossval": "training and validation images together, in nnU-Net's five folds; 400 test images are "
        "imagesTs, labelsTs",
    },
    find=_find,
    remarks="Label 1 is the rim of the disc, 2 the cup. A submission needs them back as 128 and 0 on 255, in the "
    "original size, which is the size here. How the paper of Mixed-MLP MM-UNet splits the 1200 images is not known.",
    file_ending=".png",
    regions_class_order=(1, 2),
    largest_foreground=0.5,
)
