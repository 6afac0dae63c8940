"""The step that scores a network by the protocol of its data set."""

import json
import os
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from nnunet_ext.benchmark import matrix as matrices
from nnunet_ext.benchmark import step
from nnunet_ext.benchmark.evaluate import EvaluationResults
from nnunet_ext.benchmark.matrix import Evaluation

from .conftest import Benchmark

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "Hippocampus_MSD04"


@pytest.fixture
def scored(benchmark: Benchmark) -> Evaluation:
    """The evaluation of nnU-Net's own trainer on two folds, by another protocol than nnU-Net's."""
    file = benchmark.folder / "matrix.json"
    content = json.loads(file.read_text())
    content["datasets"][0]["protocol"] = "transunet"
    content["folds"] = [0, 1]
    file.write_text(json.dumps(content))
    evaluation = matrices.read(benchmark.folder).all_evaluations()[0]
    assert evaluation.job == "Dataset004_Hippocampus/nnUNetTrainer_5epochs__nnUNetPlans__3d_fullres/evaluation"
    return evaluation


def test_networks_under_nnunets_own_protocol_need_no_evaluation(benchmark: Benchmark) -> None:
    assert benchmark.matrix.all_evaluations() == []


def test_only_whole_networks_are_evaluated(benchmark: Benchmark, scored: Evaluation) -> None:
    benchmark.finish(0)
    benchmark.train(1, epochs=2, seconds=1.0)
    code, said = step.run(benchmark.folder, scored.job, "cpu", "exit")
    assert code == 1
    assert "is not evaluated, as fold_1 is not done" in said


def test_folds_are_scored_and_again_when_one_was_trained_anew(benchmark: Benchmark, scored: Evaluation) -> None:
    pytest.importorskip("nnunet_ext.evaluation.command", reason="needs `nnunet-ext evaluate`")
    if not SHARED.is_dir():
        pytest.skip(f"needs the real images in {SHARED}, which are not part of the repository")
    labels = sorted((SHARED / "labelsTr").glob("*.nii.gz"))[:2]
    names = [label.name.removesuffix(".nii.gz") for label in labels]
    data = benchmark.folder.parent / "nnUNet_preprocessed" / "Dataset004_Hippocampus"
    (data / "gt_segmentations").mkdir(parents=True)
    (data / "splits_final.json").write_text(json.dumps([{"train": names[::-1], "val": [name]} for name in names]))
    for number, label in enumerate(labels):
        shutil.copy(label, data / "gt_segmentations")
        benchmark.finish(number)
        shutil.copy(label, benchmark.place(number) / "validation")
    model = benchmark.place(0).parent
    shutil.copy(SHARED / "dataset.json", model)
    (model / "plans.json").write_text(json.dumps({"dataset_name": "Dataset004_Hippocampus"}))

    code, said = step.run(benchmark.folder, scored.job, "cpu", "exit")
    assert (code, said) == (0, f"{scored.job}: done")
    assert EvaluationResults(scored).is_done()
    assert len(list(model.glob("fold_*/validation/evaluation_transunet.csv"))) == 2
    os.utime(benchmark.place(1) / "validation" / "summary.json", (2e9, 2e9))
    assert not EvaluationResults(scored).is_done()


def _leave_scores(benchmark: Benchmark, complete: bool) -> None:
    """What `nnunet-ext evaluate` writes into the first two folds; with `complete` false, as it does if cases fail."""
    for number in (0, 1):
        scores = benchmark.place(number) / "validation" / "evaluation_transunet.csv"
        scores.write_text("case,class,metric,unit,value\n")
        scores.with_suffix(".json").write_text(json.dumps({"complete": complete}))


def test_scores_of_some_cases_are_not_the_evaluation(
    benchmark: Benchmark, scored: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (0, 1):
        benchmark.finish(number)

    def evaluate(complete: bool) -> tuple[int, str]:
        def command(*_: object) -> CompletedProcess[str]:
            _leave_scores(benchmark, complete)
            return CompletedProcess([], int(not complete))

        monkeypatch.setattr("nnunet_ext.benchmark.evaluate.subprocess.run", command)
        return step.run(benchmark.folder, scored.job, "cpu", "exit")

    code, said = evaluate(complete=False)
    assert code == 1
    assert "left with 1 and has not scored every fold" in said
    assert not EvaluationResults(scored).is_done()
    assert evaluate(complete=True) == (0, f"{scored.job}: done")
    (benchmark.place(0) / "validation" / "evaluation_transunet.json").write_text('{"complete": ')
    assert not EvaluationResults(scored).is_done()
