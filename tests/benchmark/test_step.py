"""One step: what it refuses, how it fails, what it cleans up."""

import json
from pathlib import Path

import pytest

from nnunet_ext.benchmark import matrix as matrices
from nnunet_ext.benchmark import step
from nnunet_ext.benchmark.errors import BenchmarkError
from nnunet_ext.benchmark.folders import failure_file
from nnunet_ext.benchmark.results import FoldResults
from nnunet_ext.benchmark.workflow import put_aside
from nnunet_ext.locks import Lock

from .conftest import Benchmark


def _plan(benchmark: Benchmark, plans: str = "nnUNetPlans") -> tuple[int, str]:
    file = benchmark.folder / "matrix.json"
    content = json.loads(file.read_text())
    content["datasets"][0]["plans"] = plans
    file.write_text(json.dumps(content))
    return step.run(benchmark.folder, f"Dataset004_Hippocampus/{plans}", "cpu", "exit")


def test_plans_of_another_planner_must_be_there(benchmark: Benchmark) -> None:
    code, said = _plan(benchmark, "nnUNetLKMUNetPlans")
    assert code == 1
    assert "nnUNetLKMUNetPlans.json is not there; `nnunet-ext plan` writes plans other than nnUNetPlans." in said
    failure = failure_file(benchmark.folder, "Dataset004_Hippocampus/nnUNetLKMUNetPlans")
    assert failure.read_text() in said


def test_a_data_set_that_is_nowhere(benchmark: Benchmark) -> None:
    code, said = _plan(benchmark)
    assert code == 1
    assert "Dataset004_Hippocampus is not planned, and" in said
    assert not list((benchmark.folder.parent / "nnUNet_preprocessed").iterdir())


def _preprocessed(benchmark: Benchmark, n_cases: int) -> Path:
    folder = benchmark.folder.parent / "nnUNet_preprocessed" / "Dataset004_Hippocampus"
    for name in ("gt_segmentations", "nnUNetPlans_3d_fullres"):
        (folder / name).mkdir(parents=True)
    configurations = {
        "3d_fullres": {"data_identifier": "nnUNetPlans_3d_fullres"},
        "big": {"inherits_from": "3d_fullres"},
    }
    (folder / "nnUNetPlans.json").write_text(json.dumps({"configurations": configurations}))
    (folder / "dataset.json").write_text(json.dumps({"numTraining": n_cases, "file_ending": ".nii.gz"}))
    for number in range(n_cases):
        (folder / "nnUNetPlans_3d_fullres" / f"case_{number:03d}.pkl").touch()
        (folder / "gt_segmentations" / f"case_{number:03d}.nii.gz").touch()
    return folder


def test_splits_are_written_once_as_nnunet_would(benchmark: Benchmark) -> None:
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    folder = _preprocessed(benchmark, 10)
    assert _plan(benchmark) == (0, "Dataset004_Hippocampus/nnUNetPlans: done")
    expected = generate_crossval_split([f"case_{number:03d}" for number in range(10)])
    assert json.loads((folder / "splits_final.json").read_text()) == expected

    own = [{"train": ["case_000"], "val": ["case_001"]}]
    (folder / "splits_final.json").write_text(json.dumps(own))
    code, said = _plan(benchmark)
    assert code == 1
    assert "has the folds 0 to 0; the matrix wants 4" in said
    assert json.loads((folder / "splits_final.json").read_text()) == own


def test_too_few_cases_and_a_configuration_that_is_not_planned(benchmark: Benchmark) -> None:
    folder = _preprocessed(benchmark, 4)
    assert "has 4 training cases; five folds need 5 or more" in _plan(benchmark)[1]
    (folder / "nnUNetPlans.json").write_text(json.dumps({"configurations": {"2d": {}}}))
    assert "has no configuration 3d_fullres; it has 2d" in _plan(benchmark)[1]


def test_a_fold_that_another_process_trains_is_left_alone(benchmark: Benchmark) -> None:
    with Lock(benchmark.place(0) / "nnunet_ext_job.lock"):
        code, said = step.run(benchmark.folder, benchmark.fold(0).job, "cpu", "go-on")
    assert code == 75
    assert "is held by process" in said
    assert not failure_file(benchmark.folder, benchmark.fold(0).job).exists()


@pytest.mark.parametrize(("on_failure", "code"), [("exit", 1), ("go-on", 0), ("stop", 0)])
def test_after_a_failure_the_rest_goes_on_or_stops(on_failure: str, code: int, benchmark: Benchmark) -> None:
    first, second = (benchmark.fold(number).job for number in (0, 1))
    assert step.run(benchmark.folder, first, "cpu", on_failure)[0] == code  # nothing is planned
    assert failure_file(benchmark.folder, first).is_file()
    _, said = step.run(benchmark.folder, second, "cpu", on_failure)
    assert ("not begun, as the run stops after" in said) == (on_failure == "stop")
    assert failure_file(benchmark.folder, second).is_file() == (on_failure != "stop")


def test_a_step_that_is_not_in_the_matrix(benchmark: Benchmark) -> None:
    with pytest.raises(BenchmarkError, match="no step 'Dataset004_Hippocampus/fold_0'"):
        step.run(benchmark.folder, "Dataset004_Hippocampus/fold_0", "cpu", "exit")


def test_checkpoints_that_a_kill_cut_off_are_removed(benchmark: Benchmark) -> None:
    benchmark.finish(0)
    benchmark.checkpoint(0, "checkpoint_latest.pth")
    final = benchmark.place(0) / "checkpoint_final.pth"
    final.write_bytes(final.read_bytes()[:-30])
    results = FoldResults(benchmark.fold(0))
    assert results.remove_damaged_checkpoints() == ["checkpoint_final.pth"]
    assert not results.is_trained()
    assert results.has_checkpoint()


def test_a_fold_that_is_trained_again_keeps_the_old_one(benchmark: Benchmark) -> None:
    benchmark.finish(0)
    put_aside(benchmark.matrix.find(benchmark.fold(0).job))
    assert not FoldResults(benchmark.fold(0)).is_done()
    (old,) = benchmark.place(0).parent.glob("replaced_fold_0_*")
    assert (old / "validation" / "summary.json").is_file()
    assert not list(old.glob("*.lock*"))
    with Lock(benchmark.place(0) / "nnunet_ext_job.lock"), pytest.raises(BenchmarkError, match="being trained now"):
        put_aside(benchmark.fold(0))
    with pytest.raises(BenchmarkError, match="is no fold"):
        put_aside(matrices.Plan("Dataset004_Hippocampus", "nnUNetPlans", ("3d_fullres",)))
