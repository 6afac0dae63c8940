"""One step of a benchmark, which any scheduler may start, and start again."""

import traceback
from pathlib import Path

from nnunet_ext.benchmark import matrix as matrices
from nnunet_ext.benchmark import nnunet
from nnunet_ext.benchmark.errors import BenchmarkError
from nnunet_ext.benchmark.evaluate import evaluate
from nnunet_ext.benchmark.folders import failure_file, stop_file
from nnunet_ext.benchmark.plan import plan
from nnunet_ext.benchmark.train import train
from nnunet_ext.locks import LockedError
from nnunet_ext.trainers.preemption import EXIT_TRY_AGAIN


def run(benchmark: Path, job: str, device: str, on_failure: str) -> tuple[int, str]:
    """Do the step `job` if it is not done; returns the exit code and a sentence.

    The code is 0 if the step ended, 1 if it failed, 75 if it was asked to leave or is done by another process now.

    Args:
        benchmark: the benchmark's folder.
        job: the step's name.
        device: of a training.
        on_failure: "exit": leave with 1; "go-on": with 0, as another attempt would fail again; "stop": with 0, and let
            no step begin any more.
    """
    matrix = matrices.read(benchmark)
    step = matrix.find(job)
    if on_failure == "stop" and stop_file(benchmark).exists():
        return 0, f"{job}: not begun, as the run stops after {stop_file(benchmark).read_text()}"
    failure = failure_file(benchmark, job)
    failure.unlink(missing_ok=True)
    try:
        with nnunet.environment(**nnunet.workers()):  # before nnU-Net is imported, which reads them then
            if isinstance(step, matrices.Plan):
                plan(step, matrix.folds_on(step.dataset))
            elif isinstance(step, matrices.Fold):
                train(benchmark, step, device)
            else:
                evaluate(step)
    except LockedError as error:
        return EXIT_TRY_AGAIN, f"{job}: {error}"
    except KeyboardInterrupt:
        return 130, f"{job}: interrupted; the next run continues"
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code == EXIT_TRY_AGAIN:
            return EXIT_TRY_AGAIN, f"{job}: left as it was asked to; the next run continues"
        failure.parent.mkdir(parents=True, exist_ok=True)
        told = str(error) if isinstance(error, BenchmarkError) else traceback.format_exc()
        failure.write_text(told)
        if on_failure == "stop":
            stop_file(benchmark).write_text(job)
        return int(on_failure == "exit"), f"{told}\n{job}: failed"
    return 0, f"{job}: done"


def last_line(failure: Path) -> str:
    """The last line of a traceback: what was wrong."""
    lines = failure.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
