"""FLARE22: 50 labelled abdominal CTs with 13 organs, and the 50 of its tuning set.

The images already carry nnU-Net's `_0000`. The tuning and the hidden testing cases share the names FLARETs_0001 and so
on: only those below a folder Tuning are taken, and the 2000 unlabelled cases never.
"""

from nnunet_ext.datasets import organs
from nnunet_ext.datasets.benchmark import Benchmark, Case, identity, numbered, pair
from nnunet_ext.datasets.source import Source

N_LABELLED = 50
NIFTI = r"\.nii(?:\.gz)?"


def _find(source: Source, _: str) -> list[Case]:
    expected = [f"FLARE22_Tr_{number:04d}" for number in range(1, N_LABELLED + 1)]
    training = pair(
        source.find(rf"images/(?P<id>FLARE22_Tr_\d{{4}})_0000{NIFTI}"),
        source.find(rf"labels/(?P<id>FLARE22_Tr_\d{{4}}){NIFTI}"),
        "train",
        expected,
    )
    tuning = pair(
        source.find(rf"Tuning/images/(?P<id>FLARETs_\d{{4}})_0000{NIFTI}"),
        source.find(rf"Tuning/labels/(?P<id>FLARETs_\d{{4}}){NIFTI}"),
        "test",
    )
    return training + tuning


FLARE22 = Benchmark(
    name="flare22",
    dataset_id=820,
    folder="FLARE22",
    title="FLARE22, abdominal CT, 13 organs",
    obtain="https://flare22.grand-challenge.org (registration); the 50 labelled cases alone: "
    "https://zenodo.org/records/7860267, FLARE22Train.zip",
    example="images/FLARE22_Tr_0001_0000.nii.gz",
    licence="Rules of the challenge: no redistribution of the data or of its link. The Zenodo copy states a licence "
    "of its own; read it there (CC BY 4.0 by report, not verified).",
    citations=(
        "Ma J. et al. Unleashing the strengths of unlabelled data in deep learning-assisted pan-cancer abdominal organ "
        "quantification: the FLARE22 challenge. Lancet Digital Health 6(11), 2024.",
        "Ma J. et al. AbdomenCT-1K: is abdominal organ segmentation a solved problem? IEEE TPAMI 44(10), 2022.",
        "Simpson A. L. et al. A large annotated medical image dataset for the development and evaluation of "
        "segmentation algorithms. arXiv 1902.09063, 2019.",
    ),
    channel_names=("CT",),
    labels=numbered(organs.FLARE),
    label_map=identity(13),
    splits={
        "official": "the 50 labelled cases train, in nnU-Net's five folds; the tuning cases, where the source has "
        "them, are imagesTs. U-Mamba and LKM-UNet train one model on all 50 (fold all) and test on the tuning cases."
    },
    find=_find,
    reader="NibabelIOWithReorient",
)
