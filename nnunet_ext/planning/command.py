"""`nnunet-ext plan`: plans that fit a GPU, printed beside nnU-Net's own, and preprocessing."""

import argparse
import contextlib
import io
import sys
from collections.abc import Iterator

from nnunet_ext.interrupt import sigterm_interrupts
from nnunet_ext.planning.networks import NETWORKS


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `plan`."""
    plan = commands.add_parser("plan", help="patch and batch sizes for a network that fit the memory of a GPU")
    plan.add_argument("-d", "--dataset", required=True, help="nnU-Net's dataset id or name")
    which = plan.add_mutually_exclusive_group(required=True)
    which.add_argument("--network", metavar="NAME", help=", ".join(NETWORKS))
    which.add_argument("--all", action="store_true", help="plan for every network")
    plan.add_argument("--gpu-memory", type=float, default=8, metavar="GIB", help="default: 8, as nnU-Net's")
    plan.add_argument("--preprocess", action="store_true", help="also preprocess what is not preprocessed yet")
    plan.add_argument("-np", type=int, default=4, help="processes of the preprocessing (default: 4)")
    plan.set_defaults(run=_plan)


def _plan(arguments: argparse.Namespace) -> int:
    from nnunet_ext.planning import inputs

    names = list(NETWORKS) if arguments.all else [arguments.network]
    try:
        with sigterm_interrupts():
            dataset = inputs.check(arguments.dataset, names, arguments.gpu_memory, arguments.np)
            planned = [_is_planned(dataset, name, arguments) for name in names]
    except KeyboardInterrupt:
        print("nnunet-ext plan: interrupted; the plans that were printed are written", file=sys.stderr)
        return 130
    except ValueError as error:
        print(f"nnunet-ext plan: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # the next network's plans would meet it too
        print(f"nnunet-ext plan: {error.strerror or error}: {error.filename or 'writing the plans'}", file=sys.stderr)
        return 1
    return 0 if all(planned) else 1


def _is_planned(dataset: str, name: str, arguments: argparse.Namespace) -> bool:
    """Plan for one network; one that does not fit says so, and does not keep the others from it."""
    try:
        _plan_one(dataset, name, arguments)
    except ValueError as error:
        print(f"nnunet-ext plan: {error}", file=sys.stderr)
        return False
    return True


def _plan_one(dataset: str, name: str, arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from nnunet_ext.planning import next_steps, overview
    from nnunet_ext.planning.planner import PLANNERS

    console = Console(highlight=False)
    with console.status(f"planning {name}: steps of the network without data"), _quiet():
        planner = PLANNERS[name](dataset, arguments.gpu_memory)
        planner.plan_experiment()
        rows = list(overview.rows(planner))
    console.print(overview.table(planner, rows))
    for line in overview.stage_lines(planner, rows):
        console.print(line, soft_wrap=True)
    console.print(f"Plans: {planner.plans_file}", soft_wrap=True)
    if arguments.preprocess:
        next_steps.preprocess(planner, arguments.np)
    console.print("Next:")
    for command in next_steps.commands(planner, arguments.np):
        console.print(f"  {command}", soft_wrap=True)
    console.print()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """nnU-Net's planner prints whole plans."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
