"""Converted downloads are planned, preprocessed and trained by stock commands, on the splits that were written."""

import json
import zipfile
from pathlib import Path

import pytest

from ..pipeline.stock import StockNnUNet
from .downloads import refuge2, synapse

TRAINER = "nnUNetTrainerLKMUNetNoMambaTiny"


def few(archives: Path, kept: tuple[str, ...]) -> None:
    """Leave only the members of these cases in every archive."""
    for path in archives.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist() if Path(name).stem in kept}
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["synapse", "refuge2"])
def test_converted_downloads_train(name: str, tmp_path: Path) -> None:
    nnunet = StockNnUNet(tmp_path / "nnunet")
    if name == "synapse":
        source, dataset, configuration = synapse(tmp_path / "download", scale=2), 824, "3d_fullres"
        nnunet("nnunet-ext", "convert", name, source, "-np", 2)
        nnunet.plan(dataset, configuration, (16, 16, 16), [4, 8, 8])
    else:
        source, dataset, configuration = refuge2(tmp_path / "download"), 825, "2d"
        few(source, (*(f"g{n:04d}" for n in range(1, 7)), "V0001", "V0002", "T0001"))
        nnunet("nnunet-ext", "convert", name, source, "-np", 2, "--skip-failed")
        nnunet.plan(dataset, configuration, (16, 16), [4, 8, 8])
    log = nnunet.train(dataset, configuration, 0, TRAINER)
    assert "Using splits from existing split file" in log
    summary = json.loads((nnunet.model(TRAINER, configuration) / "fold_0" / "validation" / "summary.json").read_text())
    split = json.loads(next(nnunet.raw.glob("Dataset*/splits_final.json")).read_text())[0]
    validated = {Path(case["reference_file"]).name.split(".")[0] for case in summary["metric_per_case"]}
    assert validated == set(split["val"])
