"""ACDC: short-axis cine MR of the heart, 100 + 50 patients, two phases each, with three structures."""

from pathlib import Path

from nnunet_ext.datasets.benchmark import Benchmark, Case, Fold, Part, identity, numbered
from nnunet_ext.datasets.source import Source

PATIENTS: dict[Part, range] = {"train": range(1, 101), "test": range(101, 151)}
FOLDERS: dict[Part, str] = {"train": "training", "test": "testing"}
N_FRAMES = 2
"""End of diastole and of systole."""


def _find(source: Source, _: str) -> list[Case]:
    cases = []
    for part, folder in FOLDERS.items():
        frame = rf"{folder}/patient\d{{3}}/(?P<id>patient\d{{3}}_frame\d{{2}})"
        images = source.find(rf"{frame}\.nii(?:\.gz)?")
        labels = source.find(rf"{frame}_gt\.nii(?:\.gz)?")
        frames: dict[str, list[str]] = {f"patient{number:03d}": [] for number in PATIENTS[part]}
        for name in sorted({*images, *labels}):
            frames.setdefault(name[: len("patient000")], []).append(name)
        for patient, names in frames.items():
            # A missing phase has no name of its own: its frame number is not known.
            missing = [f"{patient}_missing{number}" for number in range(len(names) + 1, N_FRAMES + 1)]
            for name in names + missing:
                image = (images[name],) if name in images else ()
                cases.append(Case(name, part, image, labels.get(name)))
    return cases


def _folds(labels: Path) -> list[Fold]:
    """The patient-wise folds of nnU-Net's own converter, so that results compare."""
    from nnunetv2.dataset_conversion.Dataset027_ACDC import create_ACDC_split

    found: list[Fold] = create_ACDC_split(str(labels))
    return found


ACDC = Benchmark(
    name="acdc",
    dataset_id=826,
    folder="ACDC",
    title="ACDC, cine MR of the heart, right ventricle, myocardium, left ventricle",
    obtain="https://humanheart-project.creatis.insa-lyon.fr (free), ACDC.zip",
    example="database/training/patient001/patient001_frame01.nii.gz",
    licence="CC BY-NC-SA 4.0; citation is mandatory.",
    citations=(
        "Bernard O. et al. Deep learning techniques for automatic MRI cardiac multi-structures segmentation and "
        "diagnosis: is the problem solved? IEEE TMI 37(11), 2018.",
    ),
    channel_names=("cineMRI",),
    labels=numbered(("RV", "MLV", "LVC")),
    label_map=identity(3),
    splits={
        "official": "100 training patients in the five patient-wise folds of nnU-Net's own converter; 50 test patients "
        "are imagesTs, labelsTs. TransUNet and MLLA-UNet split the 100 patients by lists that are not known to us."
    },
    find=_find,
    folds=_folds,
)
