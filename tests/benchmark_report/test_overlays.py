"""Which cases and which slices the report shows."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnunet_ext.benchmark import matrix
from nnunet_ext.benchmark_report import main, overlays, results
from nnunet_ext.demo import figures

from .synthetic import LKM, STOCK, Bench, save


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Two networks on four cases with images; case 1 is the best, 0 the worst."""
    made = Bench(tmp_path, [STOCK, LKM], folds=2)
    dice = {0: 0.2, 1: 0.9, 2: 0.6, 3: 0.5}
    for trainer in made.trainers:
        made.train(trainer, lambda case, name: dice[case], cases=4)
    made.draw_cases(4)
    monkeypatch.setenv("nnUNet_results", str(made.results))
    monkeypatch.setenv("nnUNet_raw", str(made.raw))
    return made


def test_best_median_and_worst_case(bench: Bench) -> None:
    found = results.collect(matrix.read(bench.folder), bench.results)[0]
    cases = overlays.chosen(found.cells[LKM], found.metrics[0])
    assert cases == {"best": (1, "case_001"), "median": (1, "case_003"), "worst": (0, "case_000")}
    distance = results.Metric("HD95", "mm", ("head", "tail"))
    found.cells[LKM].scores["metric"] = "HD95"
    assert overlays.chosen(found.cells[LKM], distance)["best"] == (0, "case_000")


def test_pictures_of_the_cases_say_where_the_images_come_from(bench: Bench) -> None:
    out = bench.folder / "report"
    main.write(bench.folder, out)
    pictures = sorted((out / "figures").glob("*_cases_*.png"))
    assert [picture.stem.split("_cases_")[1] for picture in pictures] == [STOCK, LKM]
    with Image.open(pictures[0]) as picture:
        assert picture.info["Source"] == "CC BY-SA 4.0"
    assert "its best, median and worst case by Dice" in (out / "report.md").read_text()


def test_images_that_may_not_be_shown(bench: Bench) -> None:
    out = bench.folder / "report"
    main.write(bench.folder, out, without_images=[9])
    assert not list((out / "figures").glob("*_cases_*.png"))
    assert "The images of this data set are not shown" in (out / "report.md").read_text()


def test_report_without_images_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    out = bench.folder / "report"
    (bench.raw / str(bench.data["name"]) / "imagesTr" / "case_001_0000.nii.gz").unlink()
    main.write(bench.folder, out)
    text = (out / "report.md").read_text()
    assert text.count("could not be drawn") == 1, "one sentence, however many networks"
    assert "case_001_0000.nii.gz is not there" in text
    monkeypatch.delenv("nnUNet_raw")
    main.write(bench.folder, out)
    assert (out / "report.md").read_text().count("nnUNet_raw is not set") == 1


def test_slice_with_the_most_disagreement() -> None:
    truth, prediction = np.zeros((5, 4, 4), int), np.zeros((5, 4, 4), int)
    truth[1] = prediction[1] = 1
    truth[3, 0, 0] = 2
    assert figures.most_foreground([truth, prediction]) == 1
    assert figures.most_disagreement([truth, prediction]) == 3
    assert figures.most_disagreement([truth, truth]) == 1


def test_thick_slices_are_shown_in_their_own_plane(tmp_path: Path) -> None:
    # RAS: x to the right, y forward, z up. The corner that is right, at the back and below is 9.
    voxels = np.zeros((4, 5, 6), np.int16)
    voxels[3, 0, 0] = 9
    path = tmp_path / "image.nii.gz"
    save(path, voxels, (1, 1, 1.4))
    axial, spacing = figures.read(path)
    assert axial.shape == (6, 5, 4)
    assert spacing == pytest.approx((1, 1))
    assert axial[0, -1, 0] == 9, "the patient's right is on the left, the back is below"
    save(path, voxels, (1, 3, 1))
    coronal, spacing = figures.read(path)
    assert coronal.shape == (5, 6, 4)
    assert coronal[-1, -1, 0] == 9, "the patient's right is on the left, the feet are below"
    save(path, voxels, (3, 1, 0.5))
    sagittal, spacing = figures.read(path)
    assert sagittal.shape == (4, 6, 5)
    assert spacing == pytest.approx((0.5, 1))
    assert sagittal[0, -1, -1] == 9, "the front is on the left, the feet are below"
