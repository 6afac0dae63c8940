"""matrix.json: what `nnunet-ext bench init` writes, and what is refused."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from tiny import tiny_dataset

from nnunet_ext import cli
from nnunet_ext.benchmark import matrix as matrices
from nnunet_ext.benchmark.errors import BenchmarkError
from nnunet_ext.benchmark.results import fold_epochs

from .conftest import Benchmark

COMMAND = Path(sys.executable).with_name("nnunet-ext")
Run = Callable[..., CompletedProcess[str]]


def test_init_writes_the_format_that_reports_read(tmp_path: Path, run: Run) -> None:
    environment = tiny_dataset(tmp_path)
    init = [COMMAND, "bench", "init", tmp_path / "bench", "--folds", "0", "2", "--budget", "20epochs"]
    trainers = ["nnUNetTrainer", "nnUNetTrainerLKMUNet"]
    done = run(*init, "--datasets", "999:2d:amos", "Dataset999_Tiny", "--trainers", *trainers, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 folds, budget 20epochs (20 epochs)" in done.stdout
    tiny = {"id": 999, "name": "Dataset999_Tiny", "plans": "nnUNetPlans"}
    assert json.loads((tmp_path / "bench" / "matrix.json").read_text()) == {
        "budget": {"name": "20epochs", "epochs": 20, "trainer_suffix": "_20epochs"},
        "datasets": [
            tiny | {"configuration": "2d", "protocol": "amos"},
            tiny | {"configuration": "3d_fullres", "protocol": "nnunet"},
        ],
        "trainers": trainers,
        "folds": [0, 2],
    }

    again = run(*init, "--datasets", "999", "--trainers", *trainers, env=environment)
    assert again.returncode == 1
    assert "holds another matrix" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--datasets", "998", "--trainers", "nnUNetTrainer"], "Could not find a dataset with the ID 998"),
        (["--datasets", "Dataset998_None", "--trainers", "nnUNetTrainer"], "holds a data set 'Dataset998_None'"),
        (["--datasets", "999", "--trainers", "nnUNetTrainerNone"], "nnU-Net finds no trainer called nnUNetTrainerNone"),
        (
            ["--datasets", "999", "--trainers", "nnUNetTrainer_5epochs", "--budget", "5epochs"],
            "Give nnUNetTrainer_5epochs without _5epochs",
        ),
        (["--datasets", "999:3d_cascade_fullres", "--trainers", "nnUNetTrainer"], "a cascade needs the predictions"),
        (["--datasets", "999", "999", "--trainers", "nnUNetTrainer"], "names a data set twice"),
        (["--datasets", "999", "--trainers", "nnUNetTrainer", "--folds", "-1"], "-1 is no fold"),
        (["--datasets", "999", "--trainers", "nnUNetTrainer", "--protocol", "flare"], "choose from nnunet, flare22,"),
    ],
)
def test_init_refuses_with_one_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for variable, folder in tiny_dataset(tmp_path).items():
        monkeypatch.setenv(variable, folder)
    assert cli.main(["bench", "init", str(tmp_path / "bench"), *arguments]) == 1
    printed = capsys.readouterr().err
    assert sentence in printed
    assert len(printed.splitlines()) == 1
    assert not (tmp_path / "bench" / "matrix.json").exists()


OWN_TRAINERS = """
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

class nnUNetTrainer_5epochs_10iterations(nnUNetTrainer): pass
"""


def test_a_budget_of_trainers_of_the_users_own(tmp_path: Path, run: Run) -> None:
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "short_trainers.py").write_text(OWN_TRAINERS)
    environment = tiny_dataset(tmp_path) | {"nnUNet_extTrainer": str(tmp_path / "trainers")}
    init = [COMMAND, "bench", "init", tmp_path / "bench", "--datasets", "999:2d", "--budget", "5epochs_10iterations"]
    done = run(*init, "--trainers", "nnUNetTrainer", env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 folds, budget 5epochs_10iterations (5 epochs of 10 iterations)" in done.stdout
    matrix = matrices.read(tmp_path / "bench")
    assert matrix.budget == matrices.Budget("5epochs_10iterations", 5, "_5epochs_10iterations")
    assert fold_epochs(matrix.all_folds()[0]) == 5

    # None of ours has such an ending.
    done = run(*init, "--trainers", "nnUNetTrainerLKMUNet", env=environment)
    assert done.returncode == 1
    assert "nnU-Net finds no trainer called nnUNetTrainerLKMUNet_5epochs_10iterations" in done.stderr


def test_an_unknown_budget_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init = ["bench", "init", str(tmp_path / "b"), "--datasets", "999", "--trainers", "nnUNetTrainer"]
    assert cli.main([*init, "--budget", "10epochs"]) == 2
    assert "no budget '10epochs'; choose from full, 5epochs, 20epochs" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for variable, folder in tiny_dataset(tmp_path).items():
        monkeypatch.setenv(variable, folder)
    (tmp_path / "file").touch()
    init = ["bench", "init", str(tmp_path / "file" / "b"), "--datasets", "999", "--trainers", "nnUNetTrainer"]
    assert cli.main(init) == 1
    assert "Not a directory" in capsys.readouterr().err


def test_full_protocol_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, folder in tiny_dataset(tmp_path).items():
        monkeypatch.setenv(variable, folder)
    assert cli.main(["bench", "init", str(tmp_path / "b"), "--datasets", "999", "--trainers", "nnUNetTrainer"]) == 0
    matrix = matrices.read(tmp_path / "b")
    assert matrix.budget == matrices.Budget("full", 1000, "")
    assert [fold.job for fold in matrix.all_folds()] == [
        f"Dataset999_Tiny/nnUNetTrainer__nnUNetPlans__3d_fullres/fold_{number}" for number in range(5)
    ]


def test_an_official_split_of_one_fold_beside_cross_validations(benchmark: Benchmark, capsys) -> None:
    """What `nnunet-ext convert` leaves of AMOS22 and REFUGE2; nnU-Net would draw the other folds at random."""
    split = {"train": ["a"], "val": ["b"]}
    for name, n_folds in (("Dataset821_AMOS22CT", 1), ("Dataset824_Synapse", 5)):
        folder = Path(os.environ["nnUNet_preprocessed"], name)
        folder.mkdir()
        (folder / "splits_final.json").write_text(json.dumps([split] * n_folds))
    new = benchmark.folder.with_name("new")
    command = [
        "bench",
        "init",
        str(new),
        "--trainers",
        "nnUNetTrainer",
        "--datasets",
        "821",
        "824:2d:word",
        "821:2d:amos",
    ]
    assert cli.main(command) == 0
    assert "Dataset821_AMOS22CT: fold 0 only, as its split has no other of these\n" in capsys.readouterr().out
    matrix = matrices.read(new)
    assert [data.folds for data in matrix.datasets] == [(0,), (), (0,)]
    assert [fold.dataset.id for fold in matrix.all_folds()] == [821, 824, 821, 824, 824, 824, 824]
    assert [len(evaluation.folds) for evaluation in matrix.all_evaluations()] == [5, 1]
    assert cli.main([*command, "--folds", "1", "2"]) == 1
    assert "has the folds 0 to 0, and none of those" in capsys.readouterr().err


def test_one_plan_for_all_configurations_and_networks_of_a_data_set(benchmark: Benchmark) -> None:
    file = benchmark.folder / "matrix.json"
    content = json.loads(file.read_text())
    content["datasets"].append(content["datasets"][0] | {"configuration": "2d"})
    file.write_text(json.dumps(content))
    (plan,) = matrices.read(benchmark.folder).all_plans()
    assert plan.job == "Dataset004_Hippocampus/nnUNetPlans"
    assert plan.configurations == ("3d_fullres", "2d")


def _without(part: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.pop(part)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_without("budget"), "lacks 'budget'"),
        (lambda content: content.update(folds=[]), "names no folds"),
        (lambda content: content.update(folds=["all"]), "'all' is no fold"),
        (lambda content: content["datasets"][0].update(folds=[5]), "the folds of Dataset004_Hippocampus must be some"),
        (lambda content: content["datasets"][0].update(id=5), "'Dataset004_Hippocampus' with id 5 is none"),
        (lambda content: content["datasets"][0].update(plans="a__b"), "'a__b' is no plans name"),
        (lambda content: content["datasets"][0].update(plans=".."), "'..' is no plans name"),
        (lambda content: content["datasets"][0].update(configuration="2.d"), "'2.d' is no configuration"),
        (lambda content: content.update(trainers=["../x"]), "'../x' is no trainer"),
        (lambda content: content["datasets"][0].pop("protocol"), "protocol"),
        (lambda content: content["datasets"][0].update(protocol="amos22"), "'amos22' is no protocol of evaluation"),
    ],
)
def test_a_file_edited_by_hand_is_checked(
    spoil: Callable[[dict[str, Any]], None], sentence: str, benchmark: Benchmark
) -> None:
    file = benchmark.folder / "matrix.json"
    content = json.loads(file.read_text())
    spoil(content)
    file.write_text(json.dumps(content))
    with pytest.raises(BenchmarkError, match=r"matrix\.json") as raised:
        matrices.read(benchmark.folder)
    assert sentence in str(raised.value)


def test_plans_of_half_a_gigabyte_have_a_dot(benchmark: Benchmark) -> None:
    """As `nnunet-ext plan --gpu-memory 24.5` names them."""
    file = benchmark.folder / "matrix.json"
    file.write_text(file.read_text().replace('"nnUNetPlans"', '"nnUNetLKMUNetPlans_24.5G"'))
    (plan,) = matrices.read(benchmark.folder).all_plans()
    assert plan.job == "Dataset004_Hippocampus/nnUNetLKMUNetPlans_24.5G"
