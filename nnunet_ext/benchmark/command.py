"""The command `nnunet-ext bench`."""

import argparse
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.benchmark.errors import BenchmarkError
from nnunet_ext.benchmark_report import command as report

if TYPE_CHECKING:
    from rich.table import Table

    from nnunet_ext.benchmark.workflow import Options

Command = Callable[[argparse.Namespace], int]


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `bench` and its own commands."""
    bench = commands.add_parser("bench", help="networks x data sets x folds, trained on this machine or on SLURM")
    actions = bench.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_init(actions)
    _add_run(actions)
    _add(actions, "status", "how far every fold is", _status)
    _add(actions, "cost", "hours spent and hours to come, from measured epochs", _cost)
    list_ = _add(actions, "list", "the steps as a shell script, for laboratories without Snakemake", _list)
    list_.add_argument("--format", choices=["shell", "sbatch"], default="shell")
    _add_device(list_)
    _add_job_size(list_)
    report.add_to(actions)
    step = _add(actions, "step", "do one step, as a scheduler does", _step)
    step.add_argument("job", metavar="STEP", help="as `bench list` names it: DATASET/TRAINER__PLANS__CONFIG/fold_0")
    _add_device(step)
    step.add_argument("--on-failure", choices=["exit", "go-on", "stop"], default="exit", help=argparse.SUPPRESS)


def _add(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str, command: Command
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the benchmark's folder, which holds matrix.json")
    parser.set_defaults(run=_safely(command))
    return parser


def _safely(command: Command) -> Command:
    """The command, which prints what the user can act on instead of a traceback."""

    @wraps(command)
    def safe(arguments: argparse.Namespace) -> int:
        try:
            return command(arguments)
        except (BenchmarkError, OSError) as error:  # the latter of a disk that is full or may not be written
            print(f"nnunet-ext bench: {error}", file=sys.stderr)  # the output of `bench list` is a script
            return 1

    return safe


def _add_init(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    init = _add(actions, "init", "write a new matrix", _init)
    init.add_argument(
        "--datasets", nargs="+", required=True, metavar="ID[:CONFIGURATION[:PROTOCOL]]", help="numbers or names"
    )
    init.add_argument("--trainers", nargs="+", required=True, help="without a suffix such as _50epochs")
    init.add_argument("--folds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="default: 0 1 2 3 4")
    init.add_argument(
        "--configuration", default="3d_fullres", help="of data sets that name none (default: %(default)s)"
    )
    init.add_argument("--plans", default="nnUNetPlans", help="name of the plans (default: %(default)s)")
    init.add_argument(
        "--protocol", default="nnunet", help="of evaluation, for data sets that name none (default: %(default)s)"
    )
    init.add_argument(
        "--budget",
        default="full",
        help="full (default: 1000 epochs), 5epochs, 20epochs, ... 250epochs; or as 5epochs_10iterations, for your own "
        "trainers with names that end so",
    )


def _add_run(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    run = _add(actions, "run", "train and validate every fold that is not done", _run)
    run.add_argument("--slurm", action="store_true", help="submit jobs instead of training on this machine")
    run.add_argument(
        "--jobs", type=_at_least_one, help="at the same time (default: one per GPU, one on a CPU, 100 on SLURM)"
    )
    run.add_argument("--dry-run", action="store_true", help="only say what would be done")
    run.add_argument(
        "--rerun",
        nargs="+",
        default=[],
        metavar="STEP",
        help="folds to train again, named as by `bench list`: DATASET/TRAINER__PLANS__CONFIG/fold_0; old are kept",
    )
    run.add_argument("--stop-on-failure", action="store_true", help="begin nothing more once a fold has failed")
    _add_device(run)
    _add_job_size(run)
    run.add_argument(
        "--snakemake",
        default="",
        metavar="ARGUMENTS",
        help="more for Snakemake, as --snakemake='--default-resources slurm_partition=gpu'",
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        choices=["auto", "cuda", "mps", "cpu"],
        default="auto",
        help="auto: CUDA where there is a GPU, and always on SLURM; else the CPU",
    )


def _add_job_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hours",
        type=_above_zero,
        default=24,
        help="of a SLURM job; longer trainings take several jobs (default: %(default)s)",
    )
    parser.add_argument("--memory-gb", type=_above_zero, default=32, help="of a SLURM job (default: %(default)s)")
    parser.add_argument("--cores", type=_at_least_one, default=8, help="of a SLURM job (default: %(default)s)")


def _above_zero(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0")
    return number


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _init(arguments: argparse.Namespace) -> int:
    from nnunet_ext.benchmark import matrix as matrices
    from nnunet_ext.benchmark import new

    budget = matrices.budget_named(arguments.budget)
    if budget is None:
        print(
            f"nnunet-ext bench init: there is no budget {arguments.budget!r}; choose from "
            f"{', '.join(matrices.BUDGETS)}, or name one as 5epochs_10iterations for trainers of your own",
            file=sys.stderr,
        )
        return 2
    matrix = new.matrix(
        arguments.datasets,
        arguments.trainers,
        arguments.folds,
        arguments.configuration,
        arguments.plans,
        arguments.protocol,
        budget,
    )
    path = matrices.write(arguments.folder, matrix)
    for data in matrix.datasets:
        if data.folds:
            print(f"{data.name}: fold {', '.join(map(str, data.folds))} only, as its split has no other of these")
    print(f"{path}: {len(matrix.all_folds())} folds, {budget.title}")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from nnunet_ext.benchmark import matrix as matrices
    from nnunet_ext.benchmark import workflow
    from nnunet_ext.benchmark.status import counts, failures, status

    done = workflow.run(arguments.folder, _options(arguments), say=print)
    if not arguments.dry_run:
        matrix = matrices.read(arguments.folder)
        print("\n".join([*failures(arguments.folder, matrix), counts(status(arguments.folder, matrix))]))
    return 0 if done else 1


def _options(arguments: argparse.Namespace) -> "Options":
    """The options among the arguments; some commands have fewer."""
    from nnunet_ext.benchmark.workflow import Options

    given = {name: value for name, value in vars(arguments).items() if name in Options.__dataclass_fields__}
    return Options(**given)


def _status(arguments: argparse.Namespace) -> int:
    from nnunet_ext.benchmark import matrix as matrices
    from nnunet_ext.benchmark.status import counts, failures, status

    matrix = matrices.read(arguments.folder)
    rows = status(arguments.folder, matrix)
    table = _table("data set", "trainer", "fold", "state", "epoch", "s/epoch", "")
    for row in rows:
        seconds = "" if row.seconds_per_epoch is None else f"{row.seconds_per_epoch:.1f}"
        epoch = f"{row.epoch}/{row.epochs}"
        table.add_row(row.fold.dataset.name, row.fold.trainer, str(row.fold.fold), row.state, epoch, seconds, row.note)
    _print(table)
    print("\n".join([*failures(arguments.folder, matrix), counts(rows)]))
    return 0


def _cost(arguments: argparse.Namespace) -> int:
    from nnunet_ext.benchmark import matrix as matrices
    from nnunet_ext.benchmark.cost import cost

    rows = cost(matrices.read(arguments.folder))
    table = _table("data set", "trainer", "folds done", "s/epoch", "hours spent", "hours to come", "measured on")
    for row in rows:
        seconds = "unknown" if row.seconds_per_epoch is None else f"{row.seconds_per_epoch:.1f}"
        to_come = "unknown" if row.to_come is None else f"{row.to_come:.2f}"
        done = f"{row.done}/{row.folds}"
        table.add_row(
            f"{row.dataset} {row.configuration}", row.trainer, done, seconds, f"{row.spent:.2f}", to_come, row.device
        )
    _print(table)
    unknown = sum(row.to_come is None for row in rows)
    known = sum(row.to_come or 0.0 for row in rows)
    print(f"Spent: {sum(row.spent for row in rows):.2f} device hours. To come: {known:.2f} hours of epochs", end="")
    print(f", and {unknown} of {len(rows)} rows unknown: none of their epochs was measured yet." if unknown else ".")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from nnunet_ext.benchmark import matrix as matrices
    from nnunet_ext.benchmark.listing import listing

    matrix = matrices.read(arguments.folder)
    print("\n".join(listing(arguments.folder, matrix, arguments.format, _options(arguments))))
    return 0


def _step(arguments: argparse.Namespace) -> int:
    from nnunet_ext.benchmark import step

    code, sentence = step.run(arguments.folder.absolute(), arguments.job, arguments.device, arguments.on_failure)
    print(sentence)
    return code


def _table(*columns: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print(table: "Table") -> None:
    """On a terminal in its width; into a file or a pipe as wide as it is, so that lines can be searched."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print(table) if console.is_terminal else Console(highlight=False, width=400).print(table)
