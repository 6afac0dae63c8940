"""The list of what others reported, and its table."""

from pathlib import Path

import pytest

from nnunet_ext.benchmark_report import main, published
from nnunet_ext.catalogue import ENTRIES

from .synthetic import LKM, STOCK, Bench, table

OURS = {STOCK, *(entry.trainer for entry in ENTRIES)}


def test_every_number_has_its_source() -> None:
    found = published.read()
    assert {trainer for trainers in found.trainers.values() for trainer in trainers} <= OURS
    for report in found.reports:
        assert all((report.benchmark, report.by, report.source, report.protocol, report.standing))
        assert report.unit == "%"
        assert all(20 < value < 100 for values in report.values.values() for value in values)


@pytest.mark.parametrize(
    ("dataset", "benchmarks"),
    [
        ("Dataset701_AbdomenCT", {"FLARE22 (abdominal CT)"}),
        ("Dataset022_FLARE22", {"FLARE22 (abdominal CT)"}),
        ("Dataset702_AbdomenMR", {"AMOS MR with 13 organs (abdominal MR)"}),
        ("Dataset703_amos22-mr13", {"AMOS MR with 13 organs (abdominal MR)"}),
        ("Dataset218_AMOS2022_postChallenge_task1", {"AMOS22 CT"}),
        ("Dataset219_AMOS2022_postChallenge_task2", {"AMOS22 CT and MR"}),
        ("Dataset028_Synapse", {"Synapse", "BTCV"}),
        ("Dataset027_ACDC", {"ACDC"}),
        ("Dataset004_Hippocampus", set()),
        ("Dataset013_AbdomenCT1K", set()),
    ],
)
def test_data_sets_are_known_by_their_names(dataset: str, benchmarks: set[str]) -> None:
    assert {report.benchmark for report in published.read().of(dataset)} == benchmarks


def test_ours_and_theirs_stand_in_two_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, [STOCK, LKM], folds=2, id=701, name="Dataset701_AbdomenCT")
    bench.train(STOCK, lambda case, name: 0.8123, cases=4)
    bench.train(LKM, lambda case, name: 0.9, cases=4)
    (bench.fold(LKM, 1) / "validation" / "summary.json").unlink()
    monkeypatch.setenv("nnUNet_results", str(bench.results))
    out = bench.folder / "report"
    main.write(bench.folder, out)
    found = table(out, "Plans_reported")
    assert "here, mean of classes" in found["nnU-Net"]
    assert found["LKM-UNet"]["here, mean of classes"] == "", "an incomplete network has no number here either"
    lines = [line for line in (out / "report.md").read_text().splitlines() if "Table 1" in line and "Dice, %" in line]
    row = next(line for line in lines if line.startswith("| nnU-Net |"))
    assert "| 81.23 (nnUNetTrainer) | 86.15 |" in row
    elsewhere = (out / "tables" / "reported_elsewhere.csv").read_text()
    assert "ACDC" in elsewhere
    assert "Mixed-MLP" not in elsewhere, "of the matrix's networks only"
