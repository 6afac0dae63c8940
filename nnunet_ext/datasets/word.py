"""WORD: 150 abdominal CTs with 16 organs. The left kidney comes before the right one, unlike anywhere else."""

from nnunet_ext.datasets import organs
from nnunet_ext.datasets.benchmark import Benchmark, Case, Part, identity, numbered, pair
from nnunet_ext.datasets.errors import ConvertError
from nnunet_ext.datasets.source import Source


def _find(source: Source, split: str) -> list[Case]:
    cases = []
    parts: dict[str, Part] = {"Tr": "train", "Val": "train" if split == "crossval" else "validation", "Ts": "test"}
    for ending, part in parts.items():
        images, labels = (
            source.find(rf"{kind}{ending}/(?P<id>word_\d{{4}})\.nii(?:\.gz)?") for kind in ("images", "labels")
        )
        cases += pair(images, labels, part)
    if split == "official" and cases and not any(case.part == "validation" for case in cases):
        raise ConvertError(
            f"{source.path} lacks imagesVal, which the official split needs; or choose --split crossval."
        )
    return cases


WORD = Benchmark(
    name="word",
    dataset_id=827,
    folder="WORD",
    title="WORD, abdominal CT, 16 organs",
    obtain="https://github.com/HiLab-git/WORD, WORD-V0.1.0.zip; the label maps of the test cases lie in the repository",
    example="WORD-V0.1.0/imagesTr/word_0002.nii.gz",
    licence="GPL-3.0 and academic use only.",
    citations=(
        "Luo X. et al. WORD: a large scale dataset, benchmark and clinical applicable study for abdominal organ "
        "segmentation from CT image. Medical Image Analysis 82, 2022.",
    ),
    channel_names=("CT",),
    labels=numbered(organs.WORD),
    label_map=identity(16),
    splits={
        "official": "100 training cases train, 20 validation cases validate, as one fold; 30 test cases are imagesTs, "
        "labelsTs",
        "crossval": "training and validation cases together, in nnU-Net's five folds; 30 test cases are imagesTs, "
        "labelsTs",
    },
    find=_find,
    remarks="Label 12 is both adrenal glands together.",
    reader="NibabelIOWithReorient",
    n_cases=(120, 30),
    password=b"word@uestc",  # as published beside the download
)
