"""Small nnU-Net raw datasets for the demo's tests."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np


def write_raw(folder: Path, cases: int, test: int = 0, edge: int = 24, **description: Any) -> Path:
    """Bright balls (label 1) in noise, one channel; `test` labelled test cases; returns `folder`."""
    draw = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(edge)] * 3, indexing="ij"))
    for part, count in (("Tr", cases), ("Ts", test)):
        for index in range(count):
            middle = draw.uniform(edge / 3, 2 * edge / 3, size=(3, 1, 1, 1))
            label = (((grid - middle) ** 2).sum(axis=0) < (edge / 4) ** 2).astype(np.uint8)
            image = (label * 3 + draw.normal(size=label.shape)).astype(np.float32)
            for kind, voxels, suffix in (("images", image, "_0000"), ("labels", label, "")):
                path = folder / f"{kind}{part}" / f"case_{part}_{index:02d}{suffix}.nii.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "ball": 1},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content | description))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
