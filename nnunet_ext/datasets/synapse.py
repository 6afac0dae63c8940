"""Synapse, also called BTCV: 30 abdominal CTs with 13 organs.

Image and label map have different names, and the identifiers have a gap. Only the raw archive is taken: the
pre-processed files in circulation number the eight organs of TransUNet in two ways.
"""

from nnunet_ext.datasets import organs
from nnunet_ext.datasets.benchmark import Benchmark, Case, Part, identity, numbered
from nnunet_ext.datasets.source import File, Source

CASES = (*range(1, 11), *range(21, 41))
TEST = {
    "transunet": (1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38),
    "unetr": (35, 36, 37, 38, 39, 40),
    "crossval": (),
}
"""The identifiers that each split keeps for the test."""


def _find(source: Source, split: str) -> list[Case]:
    images = source.find(r"Training/img/img(?P<id>\d{4})\.nii(?:\.gz)?")
    labels = source.find(r"Training/label/label(?P<id>\d{4})\.nii(?:\.gz)?")
    numbers = sorted({f"{number:04d}" for number in CASES} | set(images) | set(labels))
    cases = [
        _case(number, "test" if int(number) in TEST[split] else "train", images.get(number), labels.get(number))
        for number in numbers
    ]
    if split == "crossval":
        hidden = source.find(r"Testing/img/img(?P<id>\d{4})\.nii(?:\.gz)?")
        cases += [_case(number, "test", image, None) for number, image in sorted(hidden.items())]
    return cases


def _case(number: str, part: Part, image: File | None, label: File | None) -> Case:
    return Case(f"synapse_{number}", part, (image,) if image else (), label)


SYNAPSE = Benchmark(
    name="synapse",
    dataset_id=824,
    folder="Synapse",
    title="Synapse multi-atlas abdomen (BTCV), CT, 13 organs",
    obtain="https://www.synapse.org/Synapse:syn3193805 (free account, access request), RawData.zip",
    example="RawData/Training/img/img0001.nii.gz",
    licence="Terms of the access request at Synapse: no redistribution.",
    citations=(
        "Landman B. et al. MICCAI multi-atlas labeling beyond the cranial vault: workshop and challenge, 2015. "
        "https://doi.org/10.7303/syn3193805",
    ),
    channel_names=("CT",),
    labels=numbered(organs.BTCV),
    label_map=identity(13),
    splits={
        "transunet": "TransUNet's list: 18 cases train, in nnU-Net's five folds, 12 are the test cases (imagesTs, "
        "labelsTs). Papers of this family score 8 of the 13 organs; that is a matter of the evaluation.",
        "unetr": "MONAI's list for UNETR: 24 cases train, in nnU-Net's five folds, 6 are the test cases",
        "crossval": "all 30 cases in nnU-Net's five folds; the 20 hidden test cases, where the source has them, are "
        "imagesTs",
    },
    find=_find,
    remarks="All 13 organs are kept, whatever the split.",
    reader="NibabelIOWithReorient",
)
