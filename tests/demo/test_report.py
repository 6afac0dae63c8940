"""The report page from results that were made up."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from nnunet_ext.demo import figures, report, results
from nnunet_ext.demo.results import Network, Results
from nnunet_ext.evaluation.labels import foreground

from .raw import write_raw

CASES = ["case_Ts_00", "case_Ts_01"]


def _network(trainer: str, dice: float) -> Network:
    return Network(
        trainer=trainer,
        parameters=1234567,
        dice={"ball": dice, "rare": None},
        mean_dice=dice,
        case_dice={case: {"ball": dice, "rare": None} for case in CASES},
        validation_dice=0.5,
        epoch_seconds=10,
        train_seconds=20,
        predict_seconds=5,
        evaluate_seconds=2,
        train_loss=[0.5, 0.2],
        validation_loss=[0.4, 0.1],
        pseudo_dice=[0.3, 0.8],
    )


@pytest.fixture
def found(tmp_path: Path) -> Results:
    write_raw(tmp_path / "nnUNet_raw" / "Dataset009_Fake", cases=1, test=2)
    for trainer in ("nnUNetTrainerLKMUNet", "nnUNetTrainer"):
        source = write_raw(tmp_path / "made" / trainer, cases=0, test=2) / "labelsTs"
        target = tmp_path / "predictions" / trainer
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    return Results(
        title="Fake <balls>",
        dataset="Dataset009_Fake",
        source="nowhere",
        unseen="Two cases.",
        one_head=False,
        labels={"ball": [1], "rare": [2]},
        training_cases=4,
        validation_cases=1,
        test_cases=2,
        configuration="3d_fullres",
        plans="nnUNetDemoPlans",
        small_plan=True,
        patch_size=[24, 24, 24],
        batch_size=2,
        features=[16, 32],
        epochs=2,
        iterations=25,
        mirroring=False,
        device="CPU",
        versions={"Python": "3.12"},
        seconds=54,
        networks=[_network("nnUNetTrainerLKMUNet", 0.8771), _network("nnUNetTrainer", 0.6543)],
    )


def test_page_is_one_file_with_the_numbers(found: Results, tmp_path: Path) -> None:
    page = report.write(found, tmp_path)
    text = page.read_text()
    assert "<b>0.877</b>" in text
    assert "0.654" in text
    assert "1,234,567" in text
    assert "Fake &lt;balls&gt;" in text
    assert "no evidence of which network is better" in text
    assert "<script" not in text
    assert 'src="data:image/png;base64,' in text
    assert "http" not in text.replace("data:image", "")
    for name in ("overlay.png", "learning_curve.png", "overlays/case_Ts_00.png"):
        assert (tmp_path / name).stat().st_size > 1000
    assert not list(tmp_path.glob("*.part"))


def test_json_has_the_same_numbers(found: Results, tmp_path: Path) -> None:
    broken = replace(found, networks=[replace(found.networks[0], validation_dice=math.nan), found.networks[1]])
    report.write(broken, tmp_path)
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["networks"][0]["mean_dice"] == 0.8771
    assert content["networks"][0]["validation_dice"] is None
    assert content["networks"][0]["dice"]["rare"] is None


def test_one_network_only(found: Results, tmp_path: Path) -> None:
    assert "both networks" in report.write(found, tmp_path).read_text()
    assert "both networks" not in report.write(replace(found, networks=found.networks[1:]), tmp_path).read_text()


def test_summary_of_labels_and_regions(tmp_path: Path) -> None:
    def metrics(disc: float, cup: float) -> dict[str, dict[str, float]]:
        return {"(1, 2)": {"Dice": disc}, "2": {"Dice": cup}}

    summary = {
        "metric_per_case": [{"reference_file": "/x/a.b.png", "metrics": metrics(0.9, math.nan)}],
        "mean": metrics(0.9, math.nan),
        "foreground_mean": {"Dice": math.nan},
    }
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    labels = foreground({"background": 0, "disc": [1, 2], "cup": 2, "ignore": 3})
    assert labels == {"disc": [1, 2], "cup": [2]}
    found = results.read_summary(tmp_path / "summary.json", labels, ".png")
    assert math.isnan(found.mean)
    assert found.by_case == {"a.b": {"disc": 0.9, "cup": None}}


def test_legend_names_the_smallest_region() -> None:
    assert report.value_names({"disc": [1, 2], "cup": [2]}) == {1: "disc", 2: "cup"}


def test_colour_pictures_stay_coloured(tmp_path: Path) -> None:
    import numpy as np
    import SimpleITK

    colours = np.random.default_rng(0).integers(0, 255, size=(20, 30, 3), dtype=np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(colours, isVector=True), str(tmp_path / "image.png"))
    voxels, _ = figures.read(tmp_path / "image.png")
    assert voxels.shape == (1, 20, 30, 3)
    assert figures.grey(voxels[0]).shape == (20, 30, 3)
