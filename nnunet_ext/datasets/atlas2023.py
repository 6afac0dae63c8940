"""ATLAS 2023: 60 contrast-enhanced MRs of the liver with its tumours. Image and label map have different names."""

from nnunet_ext.datasets.benchmark import Benchmark, Case, identity, numbered
from nnunet_ext.datasets.source import Source

N_CASES = 60


def _find(source: Source, _: str) -> list[Case]:
    images = source.find(r"imagesTr/im(?P<id>\d+)\.nii(?:\.gz)?")
    labels = source.find(r"labelsTr/lb(?P<id>\d+)\.nii(?:\.gz)?")
    numbers = {str(number) for number in range(N_CASES)} | set(images) | set(labels)
    return [
        # Filled up with zeros, so that no name is the beginning of another.
        Case(f"atlas_{int(number):03d}", "train", (images[number],) if number in images else (), labels.get(number))
        for number in sorted(numbers, key=int)
    ]


ATLAS2023 = Benchmark(
    name="atlas2023",
    dataset_id=828,
    folder="ATLAS2023",
    title="ATLAS 2023, contrast-enhanced T1 MR, liver and tumour",
    obtain="https://atlas-challenge.u-bourgogne.fr/dataset (registration), atlas-train-dataset-1.0.1.zip",
    example="atlas-train-dataset-1.0.1/train/imagesTr/im0.nii.gz",
    licence="CC BY-NC-SA 4.0.",
    citations=(
        "Quinton F. et al. A tumour and liver automatic segmentation (ATLAS) dataset on contrast-enhanced magnetic "
        "resonance imaging for hepatocellular carcinoma. Data 8(5), 2023.",
    ),
    channel_names=("T1w",),
    labels=numbered(("liver", "tumour")),
    label_map=identity(2),
    splits={
        "official": "the 60 training cases in nnU-Net's five folds; the hidden test cases are not part of the download"
    },
    find=_find,
    reader="NibabelIOWithReorient",
)
