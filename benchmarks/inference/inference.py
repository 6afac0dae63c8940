"""`nnunet-ext predict` against `nnUNetv2_predict`: the same models and images, in one run.

    python benchmarks/inference/inference.py --images FOLDER            writes results.json after each case
    python benchmarks/inference/inference.py --images FOLDER --quick    the same on small images, writes nothing

Started again, it goes on with the cases that results.json lacks, if that is of the same versions, cores and cap. Delete
that file to measure anew.

Networks are tiny and have random weights: what is measured is all but the network. FOLDER holds real images, as the
Decathlon's hippocampus set has them in imagesTr; without it they are left out.
"""

import argparse
import datetime
import json
import os
import shutil
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
import torch
from watch import Cost, watch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from nnunet_ext.files import write_text  # noqa: E402
from nnunet_ext.versions import versions  # noqa: E402
from tests.helpers.models import write_model  # noqa: E402
from tests.helpers.tiny import tiny_plans  # noqa: E402

RESULTS = Path(__file__).with_name("results.json")
MOST_SECONDS = 900
"""What takes longer is killed."""


@dataclass(frozen=True)
class Case:
    """A model and its images."""

    name: str
    classes: int
    present: int
    """Classes that the network ever gives; the others stay below the background, as organs do that are not there."""
    planned: tuple[float, ...]
    """Spacing of the plan, in mm."""
    patch: tuple[int, ...]
    shape: tuple[int, ...] | None = None
    """Of the synthetic CT, with slices first; None for five real images of one channel."""
    spacing: tuple[float, ...] = (1.0, 0.8, 0.8)
    trainer: str = "nnUNetTrainer"


CT = (500, 512, 512)
FULL = (
    Case("one image of 16 x 16 x 16 voxels, nnU-Net's network", 3, 3, (1, 0.8, 0.8), (16, 16, 16), (16, 16, 16)),
    Case("the same, LKM-UNet", 3, 3, (1, 0.8, 0.8), (16, 16, 16), (16, 16, 16), trainer="nnUNetTrainerLKMUNet"),
    Case("5 hippocampus MR images", 3, 3, (1, 1, 1), (32, 32, 32)),
    Case("CT of 512 x 512 x 500, planned at 1.5 mm, 14 classes", 14, 14, (1.5, 1.5, 1.5), (64, 96, 96), CT),
    Case("the same, 118 classes, 30 of them present", 118, 30, (3, 3, 3), (64, 64, 64), CT),
)
QUICK = (
    *FULL[:3],
    Case(
        "CT of 128 x 128 x 120, planned at 1.5 mm, 14 classes", 14, 14, (1.5, 1.5, 1.5), (32, 32, 32), (120, 128, 128)
    ),
)


def make_model(case: Case, folder: Path) -> Path:
    """A network of two stages with random weights."""
    plans, dataset = tiny_plans()
    configuration = plans["configurations"]["3d_fullres"]
    configuration |= {"spacing": list(case.planned), "patch_size": list(case.patch)}
    configuration["architecture"]["arch_kwargs"] |= {
        "n_stages": 3,
        "features_per_stage": [4, 8, 8],
        "n_conv_per_stage": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
    }
    dataset["labels"] = {"background": 0} | {f"organ {number}": number for number in range(1, case.classes)}
    model = write_model(folder, plans, dataset, trainer=case.trainer)
    file = model / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=True)
    (last,) = (name for name in checkpoint["network_weights"] if name.endswith("decoder.seg_layers.1.bias"))
    checkpoint["network_weights"][last][case.present :] = -100
    torch.save(checkpoint, file)
    return model


def make_images(case: Case, folder: Path, real: Path | None) -> None:
    """Real ones, or a body of smooth noise in air."""
    folder.mkdir(parents=True)
    if case.shape is None:
        assert real is not None
        for file in sorted(real.glob("*_0000.nii.gz"))[:5]:
            shutil.copy(file, folder)
        return
    coarse = np.random.default_rng(0).normal(0, 60, [max(2, length // 8) for length in case.shape])
    image = SimpleITK.GetImageFromArray(coarse.astype(np.float32))
    resized = SimpleITK.Resample(
        image,
        [int(length) for length in case.shape[::-1]],
        SimpleITK.Transform(),
        SimpleITK.sitkLinear,
        image.GetOrigin(),
        [(small - 1) / (large - 1) for small, large in zip(image.GetSize(), case.shape[::-1], strict=True)],
        image.GetDirection(),
    )
    values = SimpleITK.GetArrayFromImage(resized).astype(np.int16)
    axes = np.ogrid[tuple(slice(-1, 1, length * 1j) for length in case.shape)]
    values[np.broadcast_to(axes[1] ** 2 + axes[2] ** 2 > 0.8, values.shape)] = -1024
    out = SimpleITK.GetImageFromArray(values)
    out.SetSpacing(case.spacing[::-1])
    SimpleITK.WriteImage(out, str(folder / "ct_0000.nii.gz"), True)


def commands(model: Path, images: Path, out: Path, cap_gib: float) -> dict[str, list[str]]:
    """The contestants."""
    trainer, plans, configuration = model.name.split("__")
    common = ["-f", "0", "-device", "cpu", "--disable_tta", "-step_size", "1", "-i", str(images)]
    named = ["-d", model.parent.name, "-tr", trainer, "-p", plans, "-c", configuration]
    stock = [_script("nnUNetv2_predict"), *common, *named, "-o", str(out / "stock")]
    ours = [_script("nnunet-ext"), "predict", *common, "-m", str(model), "-o", str(out / "ours")]
    return {
        "nnUNetv2_predict": stock,
        "nnUNetv2_predict -npp 0 -nps 0": [*stock[:-1], str(out / "sequential"), "-npp", "0", "-nps", "0"],
        "nnunet-ext predict": [*ours, "--max-memory", str(cap_gib / 2)],  # its default in a container of that size
    }


def _script(name: str) -> str:
    found = shutil.which(name, path=sysconfig.get_path("scripts"))
    assert found, f"{name} is not installed beside {sys.executable}"
    return found


def same(out: Path) -> bool | None:
    """Whether the labels of ours are those of every other contestant that ended; None if none did."""
    others = [folder for folder in out.iterdir() if folder.name != "ours" and any(folder.glob("*.nii.gz"))]
    if not others:
        return None
    return all(
        np.array_equal(_labels(file), _labels(folder / file.name))
        for folder in others
        for file in (out / "ours").glob("*.nii.gz")
    )


def _labels(file: Path) -> Any:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))


def measure(case: Case, folder: Path, real: Path | None, cap_gib: float) -> dict[str, Any]:
    """Every contestant on one case."""
    results = folder / "nnUNet_results"
    model = make_model(case, results)
    make_images(case, folder / "images", real)
    (folder / "out").mkdir()
    environment = os.environ | {
        **dict.fromkeys(("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"), str(results)),
        "TMPDIR": str(folder),
    }
    costs: dict[str, Cost] = {}
    for name, command in commands(model, folder / "images", folder / "out", cap_gib).items():
        log = folder / f"{len(costs)}.log"
        costs[name] = watch(command, environment, log, cap_gib, MOST_SECONDS)
        print(f"| {case.name} | `{name}` | {line(costs[name])} |", flush=True)  # noqa: T201 - a script
        if costs[name].ended.startswith("exit"):
            print(log.read_text()[-2000:], file=sys.stderr)  # noqa: T201
    labels = [len(np.unique(_labels(file))) for file in (folder / "out" / "ours").glob("*.nii.gz")]
    return {
        "case": case.name,
        "date": datetime.date.today().isoformat(),
        "same_labels": same(folder / "out"),
        "labels_found": max(labels, default=0),
        "costs": {name: cost.rounded() for name, cost in costs.items()},
    }


def line(cost: Cost) -> str:
    """Cells of the table."""
    times = f"{cost.seconds:.1f} | {cost.cpu_seconds:.1f}"
    return f"{times} | {cost.peak_gib:.2f} | {cost.peak_file_gib:.2f} | {cost.peak_processes} | {cost.ended}"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="real images, NAME_0000.nii.gz (default: none)")
    parser.add_argument("--quick", action="store_true", help="small images only; writes nothing")
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="these cases, counted from 0; writes nothing")
    parser.add_argument("--cap", type=float, default=8, metavar="GIB", help="kill what takes more (default: 8)")
    arguments = parser.parse_args()
    numbered = enumerate(QUICK if arguments.quick else FULL)
    wanted = [case for number, case in numbered if arguments.only is None or number in arguments.only]
    cases = [case for case in wanted if case.shape or arguments.images]
    same: dict[str, Any] = {
        "cores": len(os.sched_getaffinity(0)),
        "cap_gib": arguments.cap,
        "versions": versions(("nnunet-ext", "nnunetv2", "torch", "numpy", "scipy", "scikit-image", "SimpleITK")),
    }
    writes = not arguments.quick and arguments.only is None
    rows = earlier_rows(same) if writes else []
    for case in cases:
        if case.name in {row["case"] for row in rows}:
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(case, Path(folder), arguments.images, arguments.cap))
        if writes:
            write_text(RESULTS, json.dumps(same | {"rows": rows}, indent=2) + "\n")
    print(json.dumps(same | {"rows": rows}, indent=2))  # noqa: T201


def earlier_rows(same: dict[str, Any]) -> list[dict[str, Any]]:
    """The cases that results.json has, if what it was measured with is the same."""
    try:
        report = json.loads(RESULTS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return list(report["rows"]) if same == {name: report.get(name) for name in same} else []


if __name__ == "__main__":
    main()
