"""The steps of a matrix as plain commands, for laboratories without Snakemake."""

import shlex
from pathlib import Path

from nnunet_ext.benchmark.matrix import Fold, Matrix
from nnunet_ext.benchmark.own_command import own_command
from nnunet_ext.benchmark.workflow import SECONDS_OF_WARNING, Options


def listing(benchmark: Path, matrix: Matrix, form: str, options: Options) -> list[str]:
    """A shell script, line by line; steps that are done end at once, so it can be started again at any time."""
    lines = _shell if form == "shell" else _sbatch
    return ["#!/bin/sh", *lines(benchmark.absolute(), matrix, options)]


def _step(benchmark: Path, job: str, device: str) -> str:
    return shlex.join([own_command(), "bench", "step", str(benchmark), job, "--device", device])


def _shell(benchmark: Path, matrix: Matrix, options: Options) -> list[str]:
    return [_step(benchmark, step.job, options.device) for step in matrix.all_steps()]


def _sbatch(benchmark: Path, matrix: Matrix, options: Options) -> list[str]:
    device = "cuda" if options.device == "auto" else options.device
    common = ["sbatch", "--parsable", f"--cpus-per-task={options.cores}", f"--mem={round(1000 * options.memory_gb)}M"]
    common += [f"--time={round(60 * options.hours)}", f"--output={benchmark / 'slurm-%j.log'}"]
    lines = []
    variables = {}
    for number, plan in enumerate(matrix.all_plans(), start=1):
        variables[plan.job] = f"plan_{number}"
        words = [*common, f"--job-name={plan.job}", "--wrap", _step(benchmark, plan.job, device)]
        lines.append(f"plan_{number}=$({shlex.join(words)})")
    gpu = ["--gres=gpu:1"] if device == "cuda" else []
    for fold in matrix.all_folds():
        words = [*common, *gpu, "--requeue", f"--signal=USR1@{SECONDS_OF_WARNING}", f"--job-name={fold.job}"]
        command = f"{shlex.join(words)} --dependency=afterok:${variables[fold.plan]}"
        variables[fold.job] = f"fold_{len(variables)}"
        lines.append(f"{variables[fold.job]}=$({command} --wrap {shlex.quote(_again(benchmark, fold, device))})")
    for evaluation in matrix.all_evaluations():
        after = ":".join(f"${variables[fold.job]}" for fold in evaluation.folds)
        words = [*common, f"--job-name={evaluation.job}", "--wrap", _step(benchmark, evaluation.job, device)]
        lines.append(f"{shlex.join(words)} --dependency=afterok:{after}")
    return lines


def _again(benchmark: Path, fold: Fold, device: str) -> str:
    """The step, then the job once more if it was asked to leave, which it says with the code 75."""
    step = _step(benchmark, fold.job, device)
    return f'srun {step}; code=$?; [ $code = 75 ] && scontrol requeue "$SLURM_JOB_ID"; exit $code'
