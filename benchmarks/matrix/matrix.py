"""The matrix on real data: nnU-Net's and all our trainers on three small data sets, through the real Snakefile.

    python benchmarks/matrix/matrix.py --data FOLDER --work FOLDER [--folds 0 1] [--budget 100epochs_100iterations]

README.md says what the data sets are. All work is done by nnU-Net's commands and by `nnunet-ext convert` and `bench`. A
second call continues where the first one ended, and adds folds that the first had not. Writes report/ beside this file.
"""

import argparse
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from nnunet_ext.catalogue import ENTRIES
from nnunet_ext.demo import plans
from nnunet_ext.demo.commands import find
from nnunet_ext.demo.trainers import STOCK, search_path
from nnunet_ext.files import write_text

HERE = Path(__file__).parent
ORGANS = {"Brainstem": 1, "SpinalCord": 2, "RightParotid": 3, "LeftParotid": 4}
"""Of the head-neck CT: those that nearly every case has. Others are drawn in some cases only, and are left out."""
MASKS = {"background": 255, "disc_rim": 128, "optic_cup": 0}
"""Values in REFUGE's masks."""
BATCH = 2


@dataclass(frozen=True)
class Task:
    """A data set, and what its plan is made small with."""

    number: int
    name: str
    configuration: str
    protocol: str
    spacing: tuple[str, str, str]
    """Millimetres; of pictures, in which nnU-Net counts 999 and 1, pixels."""
    patch: tuple[int, ...]
    prepare: Callable[[Path, Path], None]
    """(source, raw): makes the raw data set."""

    @property
    def dataset(self) -> str:
        """The name of its folders."""
        return f"Dataset{self.number}_{self.name}"


def hippocampus(source: Path, raw: Path) -> None:
    """Copy the MR crops, which are an nnU-Net data set already."""
    for folder in ("imagesTr", "labelsTr"):
        shutil.copytree(source / "Hippocampus_MSD04" / folder, raw / folder)
    shutil.copy(source / "Hippocampus_MSD04" / "dataset.json", raw)  # last: it says that the rest is there


def head_neck(source: Path, raw: Path) -> None:
    """Copy the CT of the cases that have all of `ORGANS`, with a label map of these only."""
    source /= "OpenKBP_HN_CT"
    labels = [path for path in sorted((source / "labelsTr").glob("*.nii.gz")) if set(ORGANS.values()) <= values(path)]
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(exist_ok=True)
    for path in labels:
        case = path.name.removesuffix(".nii.gz")
        shutil.copy(source / "imagesTr" / f"{case}_0000.nii.gz", raw / "imagesTr")
        label = nibabel.load(path)
        found = np.asanyarray(label.dataobj)
        kept = np.where(np.isin(found, list(ORGANS.values())), found, 0).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(kept, label.affine), raw / "labelsTr" / path.name)
    description = json.loads((source / "dataset.json").read_text())
    description |= {"labels": {"background": 0} | ORGANS, "numTraining": len(labels)}
    write_text(raw / "dataset.json", json.dumps(description, indent=1))


def values(label: Path) -> set[int]:
    """Those in a label map."""
    return set(np.unique(np.asanyarray(nibabel.load(label).dataobj)).tolist())


def fundus(source: Path, raw: Path) -> None:
    """Convert the whole photographs and their masks."""
    pictures = raw.with_name("pictures")
    pictures.mkdir(exist_ok=True)
    for kind, folder in (("images", "jpg_images"), ("masks", "refuge_style_masks")):
        (pictures / kind).unlink(missing_ok=True)
        (pictures / kind).symlink_to((source / "DrishtiGS_fundus" / folder).resolve())
    number, name = raw.name.removeprefix("Dataset").split("_")
    raw.rmdir()  # the command makes it
    labels = [f"{label}={value}" for label, value in MASKS.items()]
    run("nnunet-ext", "convert", "images-masks", pictures, "--labels", *labels, "--dataset-name", name, "-d", number)


TASKS = (
    Task(901, "Hippocampus", "3d_fullres", "nnunet", ("2", "2", "2"), (16, 16, 16), hippocampus),
    Task(902, "HeadNeck", "3d_fullres", "nnunet", ("8", "8", "8"), (24, 24, 24), head_neck),
    Task(903, "Fundus", "2d", "refuge", ("999", "6", "6"), (96, 128), fundus),
)


def run(*words: object, check: bool = True) -> None:
    """Run one command; with `check`, CalledProcessError if it fails."""
    command, *arguments = map(str, words)
    subprocess.run([find(command), *arguments], check=check)


def make_ready(task: Task, source: Path, work: Path) -> None:
    """Make the raw data set and its plan, where they are not there yet."""
    raw, preprocessed = (work / f"nnUNet_{kind}" / task.dataset for kind in ("raw", "preprocessed"))
    if not (raw / "dataset.json").is_file():
        shutil.rmtree(raw, ignore_errors=True)
        raw.mkdir(parents=True)
        task.prepare(source, raw)
    file = preprocessed / f"{plans.SMALL}.json"
    if not file.is_file():
        run(
            *("nnUNetv2_plan_and_preprocess", "-d", task.number, "--no_pp", "-npfp", 1, "--verify_dataset_integrity"),
            *("-overwrite_target_spacing", *task.spacing),
        )
        small = plans.reduce(json.loads((preprocessed / f"{plans.STOCK}.json").read_text()), task.configuration)
        small["configurations"][task.configuration] |= {"patch_size": task.patch, "batch_size": BATCH}
        write_text(file, json.dumps(small, indent=4))


def main() -> None:
    """Prepare, train, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the three data sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for nnU-Net's files and the trained models")
    parser.add_argument("--budget", default="5epochs_40iterations", help="see trainers/short_trainers.py")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--jobs", type=int, help="trainings at a time (default: one per GPU, one on a CPU)")
    parser.add_argument("--trainers", nargs="+", default=[STOCK, *(entry.trainer for entry in ENTRIES)])
    parser.add_argument("--out", type=Path, default=HERE / "report", help="of the report")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    for kind in ("raw", "preprocessed", "results"):
        (work / f"nnUNet_{kind}").mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{kind}"] = str(work / f"nnUNet_{kind}")
    os.environ["nnUNet_extTrainer"] = search_path(HERE / "trainers")
    # Worker processes and compiling cost a short training more than they save; with a GPU set nnUNet_n_proc_DA.
    os.environ |= {"nnUNet_def_n_proc": "1", "nnUNet_compile": "f"}
    workers = os.environ.get("nnUNet_n_proc_DA", "0")
    os.environ["nnUNet_n_proc_DA"] = "1"  # nnU-Net's planner does not take 0
    for task in TASKS:
        make_ready(task, arguments.data, work)
    os.environ["nnUNet_n_proc_DA"] = workers
    bench = work / "bench"
    (bench / "matrix.json").unlink(missing_ok=True)  # another choice of folds or trainers; what is done stays done
    run(
        *("nnunet-ext", "bench", "init", bench, "--budget", arguments.budget, "--plans", plans.SMALL),
        *("--datasets", *(f"{task.number}:{task.configuration}:{task.protocol}" for task in TASKS)),
        *("--trainers", *arguments.trainers, "--folds", *arguments.folds),
    )
    jobs = ("--jobs", arguments.jobs) if arguments.jobs else ()
    run("nnunet-ext", "bench", "run", bench, *jobs, check=False)  # the report says what failed
    hidden = [word for task in TASKS for word in ("--without-images", task.number)]
    run("nnunet-ext", "bench", "report", bench, "--out", arguments.out, *hidden)


if __name__ == "__main__":
    main()
