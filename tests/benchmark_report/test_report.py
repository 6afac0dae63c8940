"""Reports on made-up matrices, whose numbers are known."""

import json
import math
import os
import re
import shutil
import statistics
from pathlib import Path

import pandas as pd
import pytest

from nnunet_ext.benchmark_report import figures, main
from nnunet_ext.benchmark_report.training import Epoch, Training
from nnunet_ext.cli import main as command

from .synthetic import DATASET, LKM, MLLA, STOCK, Bench, table, write_log, write_summary
from .well_formed import check_latex

TITLES = ("report.md", "report.tex", "report.html")


def stock(case: int, name: str) -> float:
    return 0.80 + 0.01 * case if name == "head" else 0.70 + 0.01 * case


def lkm(case: int, name: str) -> float:
    """Better on the head by 0.02 and more, worse on the tail by 0.05 and more: on the mean by 0.015 + 0.001 i."""
    return stock(case, name) + (0.02 + 0.002 * case if name == "head" else -0.05 - 0.004 * case)


def mlla(case: int, name: str) -> float:
    return stock(case, name) + 0.05


def make(root: Path) -> Bench:
    """Three networks, five folds, ten cases, no images."""
    made = Bench(root, [STOCK, LKM, MLLA])
    for trainer, dice in {STOCK: stock, LKM: lkm, MLLA: mlla}.items():
        made.train(trainer, dice)
    return made


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A matrix that the test may change."""
    made = make(tmp_path)
    monkeypatch.setenv("nnUNet_results", str(made.results))
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on the matrix as it was made, to be read only."""
    made = make(tmp_path_factory.mktemp("whole"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("nnUNet_results", str(made.results))
        return write(made)


def write(bench: Bench) -> Path:
    out = bench.folder / "report"
    assert main.write(bench.folder, out) == out / "report.html"
    return out


def test_scores_by_hand(whole: Path) -> None:
    found = table(whole, "scores", "Dice")
    row = found[STOCK]
    assert row["budget"] == "tiny"
    assert row["folds"] == "5/5 folds"
    assert float(row["head"]) == pytest.approx(0.845)
    assert float(row["tail"]) == pytest.approx(0.745)
    assert float(row["mean"]) == pytest.approx(0.795)
    # Fold k has the cases k and k + 5, so that the means of the folds are 0.01 apart.
    assert float(row["SD of folds"]) == pytest.approx(statistics.stdev([0.00, 0.01, 0.02, 0.03, 0.04]))
    assert float(found[MLLA]["mean"]) == pytest.approx(0.845)


def test_comparison_with_nnunet_by_hand(whole: Path) -> None:
    found = _against(whole)
    # LKM loses in every case: the smallest p of ten cases, twice, for two networks.
    row = found[LKM]
    assert float(row["difference"]) == pytest.approx(-(0.015 + 0.001 * 4.5))
    assert float(row["effect size"]) == -1
    assert float(row["p"]) == pytest.approx(2 / 2**10)
    assert float(row["p, Holm"]) == pytest.approx(4 / 2**10)
    assert float(row["95 % from"]) < float(row["difference"]) < float(row["to"]) < 0
    assert float(found[MLLA]["difference"]) == pytest.approx(0.05)
    assert STOCK not in found


def _against(out: Path) -> dict[str, dict[str, str]]:
    return table(out, "Plans_against_nnunet")


def test_a_network_that_is_worse_on_one_class(whole: Path) -> None:
    row = table(whole, "classes_against_nnunet")[LKM]
    assert (row["head"], row["tail"]) == ("+0.029*", "-0.068*")


def test_best_is_bold_as_printed(whole: Path) -> None:
    text = (whole / "report.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith(f"| {MLLA} | 5/5 folds | 10 |"))
    assert "**0.845**" in row
    assert "**0.895**" in row


def test_every_caption_names_the_budget(whole: Path) -> None:
    page = (whole / "report.html").read_text()
    captions = re.findall(r"<(?:fig)?caption>(.*?)</(?:fig)?caption>", page, flags=re.DOTALL)
    assert len(captions) >= 8
    assert all("budget tiny (20 epochs)" in caption for caption in captions)
    assert (whole / "report.tex").read_text().count("\\caption{") == len(captions)
    assert all("budget" in pd.read_csv(path).columns for path in (whole / "tables").iterdir())


def test_incomplete_network_has_a_mark_and_no_number(bench: Bench) -> None:
    shutil.rmtree(bench.fold(MLLA, 3) / "validation")
    shutil.rmtree(bench.fold(MLLA, 4))
    out = write(bench)
    row = table(out, "scores", "Dice")[MLLA]
    assert row["folds"] == "3/5 folds"
    assert [row[column] for column in ("cases", "mean", "SD of folds", "head", "tail")] == [""] * 5
    assert MLLA not in _against(out)
    # One network is left in the family, so that nothing is corrected.
    assert float(_against(out)[LKM]["p, Holm"]) == pytest.approx(2 / 2**10)
    assert table(out, "cost")[MLLA]["hours per fold"] == ""
    for name in TITLES:
        text = (out / name).read_text()
        assert "3/5 folds" in text
        assert "fold 3: not validated; fold 4: not trained" in text
        assert f"Left out of the statistics, because folds or cases are missing: {MLLA}." in text
        assert "three complete networks" in text
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores.loc[scores["trainer"] == MLLA, "complete"]) == {"no"}
    assert MLLA not in set(pd.read_csv(out / "cases.csv")["algorithm"])


def test_networks_that_miss_the_same_folds_stand_together(bench: Bench) -> None:
    for trainer in (LKM, MLLA):
        for fold in (1, 3):
            shutil.rmtree(bench.fold(trainer, fold))
    shutil.rmtree(bench.fold(STOCK, 0) / "validation")
    title = f"{DATASET}, 3d_fullres, nnUNetPlans"
    out = write(bench)
    rows = (out / "tables" / "missing.csv").read_text().splitlines()[1:]
    assert rows == [
        f'tiny,"{title}",fold 0: not validated,{STOCK}',
        f'tiny,"{title}","folds 1, 3: not trained","{LKM}, {MLLA}"',
    ]
    for name in TITLES:
        assert (out / name).read_text().count("folds 1, 3: not trained") == 1
    check_latex((out / "report.tex").read_text())


def test_data_set_with_folds_of_its_own(bench: Bench) -> None:
    """An official split of one fold, in a matrix of five, is whole with that one."""
    bench.data["folds"] = [0]
    bench.write_matrix()
    out = write(bench)
    row = table(out, "scores", "Dice")[LKM]
    assert (row["folds"], row["cases"], row["SD of folds"]) == ("1/1 folds", "2", "")
    assert f"folds 0, 1, 2, 3, 4 ({DATASET}: fold 0 only)" in (out / "report.md").read_text()
    assert not (out / "tables" / "missing.csv").exists()


def test_fold_that_lacks_a_case_does_not_count(bench: Bench) -> None:
    only = {"case_001": {"head": 0.9, "tail": 0.9}}  # case_006 was lost
    write_summary(bench.fold(LKM, 1) / "validation" / "summary.json", only)
    out = write(bench)
    assert table(out, "scores", "Dice")[LKM]["folds"] == "4/5 folds"
    assert "fold 1: lacks values of 1 cases that others have, case_006 for one" in (out / "report.md").read_text()


def test_broken_summary_is_a_missing_fold(bench: Bench) -> None:
    (bench.fold(LKM, 1) / "validation" / "summary.json").write_text('{"mean": ')
    out = write(bench)
    assert table(out, "scores", "Dice")[LKM]["folds"] == "4/5 folds"
    assert "fold 1: summary.json cannot be read" in (out / "report.md").read_text()


def test_without_nnunet_nothing_is_compared(bench: Bench) -> None:
    shutil.rmtree(bench.fold(STOCK, 0))
    out = write(bench)
    assert not list((out / "tables").glob("*against*"))
    assert "nnUNetTrainer has 4/5 folds, so that no network is compared" in (out / "report.md").read_text()
    bench.matrix["trainers"] = [LKM, MLLA]
    bench.write_matrix()
    assert "The matrix has no nnUNetTrainer" in (write(bench) / "report.md").read_text()


def test_cost(whole: Path) -> None:
    row = table(whole, "cost")[STOCK]
    assert row["epochs"] == "2"
    assert row["device"] == "Fake GPU"
    assert float(row["seconds per epoch"]) == 12
    assert float(row["hours per fold"]) == 3
    assert float(row["peak GPU memory, GiB"]) == 5
    assert float(row["resumed folds"]) == 1


def test_long_learning_curves_are_drawn_without_their_noise() -> None:
    noise = {number: Epoch(pseudo_dice=0.5 + 0.1 * (-1) ** number) for number in range(1000)}
    noise[1].pseudo_dice = math.nan
    curve = figures._curve(Training(noise))
    assert len(curve) == 100
    assert (curve["epoch"].iloc[0], curve["epoch"].iloc[-1]) == (5.5, 995.5)
    assert curve["dice"].iloc[1:].to_numpy() == pytest.approx(0.5)
    assert len(figures._curve(Training({number: Epoch() for number in range(200)}))) == 200


def test_missing_job_files(bench: Bench) -> None:
    (bench.fold(STOCK, 2) / "nnunet_ext_job.json").unlink()
    for fold in range(5):
        (bench.fold(LKM, fold) / "nnunet_ext_job.json").unlink()
    found = table(write(bench), "cost")
    assert [found[STOCK][column] for column in ("hours per fold", "peak GPU memory, GiB")] == ["", ""]
    assert float(found[LKM]["seconds per epoch"]) == 7.5, "from nnU-Net's log"
    assert found[LKM]["device"] == found[LKM]["resumed folds"] == ""


def test_one_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Bench(tmp_path, [STOCK, LKM, MLLA], folds=1)
    for trainer, dice in {STOCK: stock, LKM: lkm, MLLA: mlla}.items():
        made.train(trainer, dice, cases=1)
    monkeypatch.setenv("nnUNet_results", str(made.results))
    out = write(made)
    assert table(out, "scores", "Dice")[STOCK]["SD of folds"] == ""
    row = _against(out)[LKM]
    assert (row["95 % from"], float(row["p"])) == ("", 1)
    text = (out / "report.md").read_text()
    assert "With 1 case the smallest p value that the Wilcoxon test can reach is 1" in text
    assert "Friedman's test needs" in text


def test_equal_networks(bench: Bench) -> None:
    for trainer in (LKM, MLLA):
        bench.train(trainer, stock)
    out = write(bench)
    assert {float(row["p, Holm"]) for row in _against(out).values()} == {1}
    row = next(line for line in (out / "report.md").read_text().splitlines() if line.startswith(f"| {LKM} | 5/5"))
    assert "**" not in row, "nothing is best where all are equal"


def test_class_that_is_absent_in_some_cases(bench: Bench) -> None:
    bench.train(STOCK, lambda case, name: None if name == "tail" and case < 9 else stock(case, name))
    bench.train(LKM, lambda case, name: None if name == "tail" else lkm(case, name))
    out = write(bench)
    found = table(out, "scores", "Dice")
    assert float(found[STOCK]["tail"]) == pytest.approx(0.79)
    assert float(found[STOCK]["mean"]) == pytest.approx((9 * 0.84 + (0.89 + 0.79) / 2) / 10)
    assert float(found[STOCK]["mean of classes"]) == pytest.approx((0.845 + 0.79) / 2)
    assert found[LKM]["tail"] == ""
    assert table(out, "classes_against_nnunet")[LKM]["tail"] == ""


def test_protocol_of_distances(bench: Bench) -> None:
    """Evaluations of a protocol take the place of summary.json, distances are better when small."""
    bench.data["protocol"] = "transunet"
    bench.write_matrix()
    for trainer, distance in {STOCK: 3.0, LKM: 1.0, MLLA: 2.0}.items():
        rows = {
            fold: [
                (f"case_{i:03d}.nii.gz", name, metric, unit, value)
                for i in (fold, fold + 5)
                for metric, unit, value in (("HD95", "voxel", distance + 0.1 * i), ("Dice", "1", 0.5))
                for name in ("head", "tail")
            ]
            for fold in range(5)
        }
        bench.evaluate(trainer, "transunet", rows)
    out = write(bench)
    assert float(table(out, "scores", "Dice")[STOCK]["mean"]) == 0.5
    assert float(table(out, "scores", "HD95")[LKM]["mean"]) == pytest.approx(1.45)
    text = (out / "report.md").read_text()
    assert "HD95 (voxel, lower is better)" in text
    assert text.index("Dice (higher is better)") < text.index("HD95 (voxel, lower is better)")
    assert re.search(rf"\| {LKM} \| 5/5 folds \| 10 \| \*\*1\.45\*\*", text)
    (bench.fold(LKM, 2) / "validation" / "evaluation_transunet.csv").unlink()
    assert table(write(bench), "scores", "HD95")[LKM]["folds"] == "4/5 folds", "summary.json does not step in"


def test_volumes_and_counts_are_not_compared(bench: Bench) -> None:
    for trainer in bench.trainers:
        rows = {
            fold: [
                (f"case_{i:03d}", name, metric, unit, 0.5)
                for i in (fold, fold + 5)
                for metric, unit in (("Dice", "1"), ("volume_reference", "ml"))
                for name in ("head", "tail")
            ]
            for fold in range(5)
        }
        bench.evaluate(trainer, "nnunet", rows)
        for fold in rows:
            summary = bench.fold(trainer, fold) / "validation" / "evaluation_nnunet.json"
            summary.write_text(json.dumps({"compared_by": ["Dice"]}))
    out = write(bench)
    assert float(table(out, "scores", "Dice")[LKM]["mean"]) == 0.5
    assert "volume_reference" not in (out / "scores.csv").read_text()


def test_evaluation_that_lacks_a_case_is_a_missing_fold(bench: Bench) -> None:
    """Also where every network lacks it: a case that cannot be scored may not drop out unseen."""
    for trainer in bench.trainers:
        rows = {
            fold: [(f"case_{i:03d}", "head", "Dice", "1", 0.5) for i in (fold, fold + 5) if i != 7] for fold in range(5)
        }
        bench.evaluate(trainer, "nnunet", rows)
    out = write(bench)
    assert {row["folds"] for row in table(out, "scores", "Dice").values()} == {"4/5 folds"}
    assert "evaluation_nnunet.csv lacks 1 validated cases, case_007 for one" in (out / "report.md").read_text()


def test_scores_from_before_the_validation_are_no_scores(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """nnU-Net validated again, or the fold was trained anew, and nothing was evaluated since."""
    for trainer in bench.trainers:
        rows = {
            fold: [(f"case_{i:03d}", name, "Dice", "1", 0.5) for i in (fold, fold + 5) for name in ("head", "tail")]
            for fold in range(5)
        }
        bench.evaluate(trainer, "nnunet", rows)
    validated_again(bench, LKM, 2)
    out = write(bench)
    assert {name: row["folds"] for name, row in table(out, "scores", "Dice").items()} == {
        STOCK: "5/5 folds",
        LKM: "4/5 folds",
        MLLA: "5/5 folds",
    }
    assert "evaluation_nnunet.csv is older than the validation" in (out / "report.md").read_text()
    for trainer in bench.trainers:
        for fold in range(5):
            validated_again(bench, trainer, fold)
    assert command(["bench", "report", str(bench.folder), "--out", str(tmp_path / "out")]) == 1
    assert "(evaluation_nnunet.csv is older than the validation); train with" in capsys.readouterr().err


def validated_again(bench: Bench, trainer: str, fold: int) -> None:
    os.utime(bench.fold(trainer, fold) / "validation" / "summary.json", (2e9, 2e9))


def test_background_is_shown_and_not_averaged(bench: Bench) -> None:
    dice = {"background": 0.99, "head": 0.5, "tail": 0.7}
    for trainer in bench.trainers:
        rows = {
            fold: [(f"case_{i:03d}", name, "Dice", "1", dice[name]) for i in (fold, fold + 5) for name in dice]
            for fold in range(5)
        }
        bench.evaluate(trainer, "nnunet", rows)
    row = table(write(bench), "scores", "Dice")[STOCK]
    means = [float(row[column]) for column in ("background", "mean", "mean of classes")]
    assert means == pytest.approx([0.99, 0.6, 0.6])


def test_case_that_two_folds_validate_is_refused(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(bench.fold(LKM, 0) / "validation/summary.json", bench.fold(LKM, 1) / "validation/summary.json")
    assert command(["bench", "report", str(bench.folder)]) == 1
    assert f"Case case_000 of {DATASET} is validated in 2 folds of {LKM}" in capsys.readouterr().err


def test_latex_of_a_whole_report_is_well_formed(whole: Path) -> None:
    text = (whole / "report.tex").read_text()
    check_latex(text)
    assert "Dataset009\\_Fake\\_set" in text
    named = set(re.findall(r"\{figures/([^}]*)\}", text))
    assert named == {path.name for path in (whole / "figures").iterdir()}


def test_page_is_one_file(whole: Path) -> None:
    page = (whole / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == page.count("<img") >= 3
    assert page.count("src=") == page.count("<img")
    assert not re.findall(r"<(?:script|link|iframe|object|embed)\b|@import|url\(|https?://", page)
    assert all(address.startswith("#") for address in re.findall(r'href="([^"]*)"', page))


def test_earlier_report_is_replaced_and_other_files_stay(bench: Bench) -> None:
    out = write(bench)
    (out / "notes.txt").write_text("mine")
    (out / "figures" / "old.png").write_bytes(b"")
    write(bench)
    assert (out / "notes.txt").read_text() == "mine"
    assert not (out / "figures" / "old.png").exists()
    assert not [path for path in bench.folder.iterdir() if path.name.startswith(".")]


def test_learning_curve_of_a_resumed_fold(tmp_path: Path) -> None:
    from nnunet_ext.benchmark_report import training

    write_log(tmp_path / "training_log_2026_11_21_12_58_41.txt", [0.1, 0.2, 0.3])
    write_log(tmp_path / "training_log_2026_11_21_15_00_00.txt", [0.25, 0.35, 0.45], first=1)
    epochs = training.read(tmp_path).epochs
    assert [epoch.pseudo_dice for epoch in epochs.values()] == [0.1, 0.25, 0.35, 0.45]
    assert epochs[1].validation_loss == -0.25
    assert epochs[3].seconds == 7.5
