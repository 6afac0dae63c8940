"""The Snakefile, with steps that do nothing."""

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from nnunet_ext.benchmark import matrix as matrices
from nnunet_ext.benchmark import workflow
from nnunet_ext.benchmark.workflow import Options

from .conftest import Benchmark


def test_dry_run_names_what_would_be_done(benchmark: Benchmark) -> None:
    pytest.importorskip("snakemake", reason="needs Snakemake: pip install nnunet-ext[bench]")
    benchmark.finish(0)
    plan, done, *left = [step.job for step in benchmark.matrix.all_steps()]
    for rerun, expected in (([], [plan, *left]), ([done], [plan, done, *left])):
        said: list[str] = []
        assert workflow.run(benchmark.folder, Options(device="cpu", dry_run=True, rerun=rerun), say=said.append)
        assert said == expected


def test_steps_begin_in_the_order_of_the_matrix(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in the last network shows in the first round of folds, not after all folds of the others."""
    pytest.importorskip("snakemake", reason="needs Snakemake: pip install nnunet-ext[bench]")
    first, second = benchmark.matrix.datasets[0], replace(benchmark.matrix.datasets[0], id=3, name="Dataset003_Zoo")
    matrix = replace(benchmark.matrix, datasets=(second, replace(first, protocol="word")), folds=(1, 0))
    (benchmark.folder / matrices.FILE).unlink()
    matrices.write(benchmark.folder, matrix)
    monkeypatch.setattr(workflow, "own_command", lambda: "true")
    assert workflow.run(benchmark.folder, Options(device="cpu"), say=print) is False, "nothing was trained"
    order = [step.job for step in matrix.all_steps()]
    order.insert(-2, order.pop(-2))  # as soon as the folds of the network are there
    begun = [(benchmark.folder / "logs" / f"{job}.log").stat().st_mtime_ns for job in order]
    assert all(one < other for one, other in pairwise(begun))


def test_spaces_and_dots_in_names(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("snakemake", reason="needs Snakemake: pip install nnunet-ext[bench]")
    data = replace(benchmark.matrix.datasets[0], id=910, name="Dataset910_My Data", plans="nnUNetLKMUNetPlans_24.5G")
    matrix = replace(benchmark.matrix, datasets=(replace(data, protocol="word"),), folds=(0,))
    (benchmark.folder / matrices.FILE).unlink()
    matrices.write(benchmark.folder, matrix)
    command = tmp_path / "my commands" / "nnunet-ext"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable} -IS\nimport sys\nprint(sys.argv[4])\n")
    command.chmod(0o755)
    monkeypatch.setattr(workflow, "own_command", lambda: str(command))
    workflow.run(benchmark.folder, Options(device="cpu"), say=print)
    for step in matrix.all_steps():
        assert (benchmark.folder / "logs" / f"{step.job}.log").read_text() == f"{step.job}\n"
