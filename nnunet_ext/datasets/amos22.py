"""AMOS22: 500 CT and 100 MR of the abdomen with 15 organs.

The numbers of cases differ between the releases, so the lists of the source's own dataset.json say what belongs to it;
its names of organs have typing errors, so labels go by value. Up to 500 an identifier is CT, above MR.
"""

import json
from functools import partial
from typing import Any

from nnunet_ext.datasets import organs
from nnunet_ext.datasets.benchmark import Benchmark, Case, Part, identity, numbered, pair
from nnunet_ext.datasets.errors import ConvertError
from nnunet_ext.datasets.source import Source

LAST_CT = 500
LISTS = {"Tr": "training", "Va": "validation"}
TO_FLARE = {
    value: organs.FLARE.index(name) + 1 if name in organs.FLARE else 0
    for value, name in enumerate(("background", *organs.AMOS))
}
"""AMOS's value: FLARE22's; bladder and prostate/uterus become background."""
SPLITS = {
    "official": "the labelled training cases train and the labelled validation cases validate, as one fold; the hidden "
    "test cases are imagesTs",
    "crossval": "training and validation cases together, in nnU-Net's five folds, as in nnU-Net's own converter; the "
    "hidden test cases are imagesTs. Never report the validation set with this one: it was trained on.",
}


def _find(modality: str, source: Source, split: str) -> list[Case]:
    listed = _listed(source)
    cases = []
    parts: dict[str, Part] = {"Tr": "train", "Va": "train" if split == "crossval" else "validation", "Ts": "test"}
    for ending, part in parts.items():
        images, labels = (
            source.find(rf"{kind}{ending}/(?P<id>amos_\d{{4}})\.nii(?:\.gz)?") for kind in ("images", "labels")
        )
        cases += pair(images, labels, part, listed.get(ending, []))
    return [case for case in cases if (int(case.name[-4:]) <= LAST_CT) == (modality == "CT")]


def _find_umamba(source: Source, _: str) -> list[Case]:
    return [case for case in _find("MR", source, "crossval") if case.part != "test"]


def _listed(source: Source) -> dict[str, list[str]]:
    """The cases that the source's dataset.json lists, after a look at its labels."""
    found = source.find(r"(?P<id>dataset\.json)").values()
    if not found:
        raise ConvertError(f"{source.path} is not AMOS22 as it is downloaded: it holds no dataset.json.")
    (file,) = found
    try:
        description: dict[str, Any] = json.loads(file.read())
        values = {int(value) for value in description["labels"]}
        listed = {ending: [_name(entry) for entry in description[key]] for ending, key in LISTS.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise ConvertError(f"{file.name} in {source.path} is not AMOS22's: {type(error).__name__}: {error}.") from error
    if values != set(range(len(organs.AMOS) + 1)):
        raise ConvertError(f"{file.name} in {source.path} lists the labels {sorted(values)}, AMOS22 has 0 to 15.")
    return listed


def _name(entry: str | dict[str, str]) -> str:
    path = entry["image"] if isinstance(entry, dict) else entry
    return path.rsplit("/", 1)[-1].split(".")[0]


def _benchmark(modality: str) -> Benchmark:
    return Benchmark(
        name=f"amos22-{modality.lower()}",
        dataset_id={"CT": 821, "MR": 822}[modality],
        folder=f"AMOS22{modality}",
        title=f"AMOS22, the {modality} scans, 15 organs",
        obtain="https://zenodo.org/records/7262581, amos22.zip (challenge: https://amos22.grand-challenge.org)",
        example="amos22/imagesTr/amos_0001.nii.gz",
        licence="Sources contradict each other (CC BY 4.0 on Zenodo by report, CC BY-NC in the paper): treat as "
        "non-commercial until you have read the terms.",
        citations=(
            "Ji Y. et al. AMOS: a large-scale abdominal multi-organ benchmark for versatile medical image "
            "segmentation. NeurIPS Datasets and Benchmarks, 2022. arXiv 2206.08023.",
        ),
        channel_names=(modality,),
        labels=numbered(organs.AMOS),
        label_map=identity(15),
        splits=SPLITS,
        find=partial(_find, modality),
        remarks="Labels go by value. The names are those of all our datasets: AMOS22's own file calls label 8 'arota' "
        "and label 9 'postcava'.",
        reader="NibabelIOWithReorient",
    )


AMOS22_CT = _benchmark("CT")
AMOS22_MR = _benchmark("MR")
AMOS22_MR13 = Benchmark(
    name="amos22-mr13",
    dataset_id=823,
    folder="AMOS22MR13",
    title="AMOS22, the MR scans as U-Mamba and LKM-UNet use them, 13 organs in FLARE22's order",
    obtain=AMOS22_MR.obtain,
    example=AMOS22_MR.example,
    licence=AMOS22_MR.licence,
    citations=(
        *AMOS22_MR.citations,
        "Ma J., Li F., Wang B. U-Mamba: enhancing long-range dependency for biomedical image segmentation. arXiv "
        "2401.04722, 2024.",
    ),
    channel_names=("MR",),
    labels=numbered(organs.FLARE),
    label_map=TO_FLARE,
    splits={
        "umamba": "the labelled training and validation cases train, in nnU-Net's five folds; both papers train one "
        "model on all of them (fold all)"
    },
    find=_find_umamba,
    remarks="The papers' 50 test cases were annotated by U-Mamba's authors and are only in their download "
    "(https://github.com/bowang-lab/U-Mamba, Dataset702_AbdomenMR). Their label maps are in this order already: put "
    "them into imagesTs and labelsTs as they are.",
    reader="NibabelIOWithReorient",
)
