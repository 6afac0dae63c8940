"""Converted downloads are planned, preprocessed, trained and validated by stock commands, then evaluated by ours."""

import csv
import json
import shutil
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
def test_from_the_download_to_the_scores(name: str, tmp_path: Path) -> None:
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
    validation = nnunet.model(TRAINER, configuration) / "fold_0" / "validation"
    split = json.loads(next(nnunet.raw.glob("Dataset*/splits_final.json")).read_text())[0]
    stock = dice_of_nnunet(validation)
    assert {case for case, _ in stock} == set(split["val"])

    nnunet("nnunet-ext", "evaluate", "--protocol", "nnunet", "--results", validation.parents[1], "-np", 2)
    assert dice(validation, "nnunet") == pytest.approx(stock, nan_ok=True)
    check_own_protocol(nnunet, {"synapse": "transunet", "refuge2": "refuge"}[name], validation, tmp_path / "references")


def dice_of_nnunet(validation: Path) -> dict[tuple[str, str], float]:
    """Dice by case and class, of the summary that nnU-Net's validation wrote."""
    labels = json.loads((validation.parents[1] / "dataset.json").read_text())["labels"]
    names = {str(tuple(value) if isinstance(value, list) else value): name for name, value in labels.items()}
    return {
        (Path(case["reference_file"]).name.split(".")[0], names[value]): metrics["Dice"]
        for case in json.loads((validation / "summary.json").read_text())["metric_per_case"]
        for value, metrics in case["metrics"].items()
    }


def dice(folder: Path, protocol: str) -> dict[tuple[str, str], float]:
    """Dice by case and class, as `nnunet-ext evaluate` wrote it."""
    with (folder / f"evaluation_{protocol}.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "Dice"]
    return {(row["case"], row["class"]): float(row["value"] or "nan") for row in rows}


def check_own_protocol(nnunet: StockNnUNet, protocol: str, validation: Path, references: Path) -> None:
    """The benchmark's protocol gives the same numbers for the model's folder and for two folders."""
    nnunet("nnunet-ext", "evaluate", "--protocol", protocol, "--results", validation.parents[1], "-np", 1)
    scores = dice(validation, protocol)
    references.mkdir()
    raw = nnunet.raw / validation.parents[2].name
    for case in {case for case, _ in scores}:
        shutil.copy(next((raw / "labelsTr").glob(f"{case}.*")), references)
    folders = [references, validation, "--dataset-json", raw / "dataset.json", "--out", references.with_name("scores")]
    nnunet("nnunet-ext", "evaluate", "--protocol", protocol, *folders, "-np", 1)
    assert dice(references.with_name("scores"), protocol) == pytest.approx(scores, nan_ok=True)
    assert {name for _, name in scores} == {
        "transunet": {
            *("aorta", "gallbladder", "left kidney", "right kidney"),
            *("liver", "pancreas", "spleen", "stomach"),
        },
        "refuge": {"optic_disc", "optic_cup"},
    }[protocol]
