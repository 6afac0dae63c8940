"""`nnunet-ext bench list`: scripts that do the matrix without Snakemake."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_ext import cli

from .conftest import Benchmark

# Answers as `sbatch --parsable` does and notes its arguments.
SBATCH = f"""#!{sys.executable} -IS
import json, os, sys
with open(os.environ["SUBMITTED"], "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
print(100 + sum(1 for _ in open(os.environ["SUBMITTED"])))
"""


def _script(benchmark: Benchmark, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert cli.main(["bench", "list", str(benchmark.folder), *more]) == 0
    return capsys.readouterr().out


def test_sbatch_trains_after_the_plan_with_a_gpu_a_warning_and_requeue(
    benchmark: Benchmark, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    script = _script(benchmark, capsys, "--format", "sbatch", "--hours", "8")
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(SBATCH)
    sbatch.chmod(0o755)
    environment = os.environ | {"PATH": f"{sbatch.parent}:{os.environ['PATH']}", "SUBMITTED": str(tmp_path / "jobs")}
    subprocess.run(["sh", "-e", "-c", script], env=environment, check=True, capture_output=True)

    plan, *folds = [json.loads(line) for line in (tmp_path / "jobs").read_text().splitlines()]
    assert len(folds) == 10
    assert shlex.split(plan[-1])[1:5] == ["bench", "step", str(benchmark.folder), "Dataset004_Hippocampus/nnUNetPlans"]
    for job in folds:
        assert {"--dependency=afterok:101", "--gres=gpu:1", "--requeue", "--time=480"} <= set(job)
        assert any(word.startswith("--signal=USR1@") for word in job)
    wrapped = folds[0][folds[0].index("--wrap") + 1]
    assert f"{benchmark.fold(0).job} --device cuda; code=$?" in wrapped


def test_shell_script_does_what_is_not_done(benchmark: Benchmark, capsys: pytest.CaptureFixture[str]) -> None:
    script = _script(benchmark, capsys, "--device", "cpu")
    commands = [shlex.split(line) for line in script.splitlines()[1:]]
    assert [command[4] for command in commands] == [
        "Dataset004_Hippocampus/nnUNetPlans",
        *(fold.job for fold in benchmark.matrix.all_folds()),
    ]
    benchmark.finish(0)
    done, not_planned = (
        subprocess.run(command, capture_output=True, text=True) for command in (commands[1], commands[2])
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{benchmark.fold(0).job}: done\n"
    assert not_planned.returncode == 1
    assert "Dataset004_Hippocampus is not planned and preprocessed" in not_planned.stdout


def test_evaluations_come_after_all_folds_of_their_network(
    benchmark: Benchmark, capsys: pytest.CaptureFixture[str]
) -> None:
    file = benchmark.folder / "matrix.json"
    file.write_text(file.read_text().replace('"nnunet"', '"word"'))
    *_, stock, ours = _script(benchmark, capsys, "--format", "sbatch", "--device", "cpu").splitlines()
    assert "nnUNetTrainer_5epochs__nnUNetPlans__3d_fullres/evaluation" in stock
    assert stock.endswith("--dependency=afterok:$fold_1:$fold_3:$fold_5:$fold_7:$fold_9")
    assert ours.endswith("--dependency=afterok:$fold_2:$fold_4:$fold_6:$fold_8:$fold_10")
