"""`nnunet-ext convert`."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext import cores
from nnunet_ext.datasets.errors import ConvertError
from nnunet_ext.folders import nnunet_folder
from nnunet_ext.interrupt import sigterm_interrupts

if TYPE_CHECKING:
    from nnunet_ext.datasets.benchmark import Benchmark
    from nnunet_ext.datasets.convert import Request
    from nnunet_ext.demo.progress import Reporter

MOST_PROCESSES = 8
"""A large CT takes about 2 GB in each."""
FAILURES_SHOWN = 20


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of this command."""
    parser = commands.add_parser("convert", help="a benchmark as it is downloaded, to an nnU-Net raw dataset")
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the benchmark, see --list")
    parser.add_argument("source", nargs="?", type=Path, metavar="SOURCE", help="the archive or folder; it is only read")
    parser.add_argument("--list", action="store_true", help="the benchmarks: what, where to get them, licence, splits")
    parser.add_argument("-d", type=int, metavar="ID", help="number of the dataset (default: see --list)")
    parser.add_argument("--split", help="which cases train, validate and test (default: see --list)")
    parser.add_argument(
        "-np",
        type=int,
        metavar="N",
        help=f"processes (default: nnUNet_def_n_proc, or the CPUs, at most {MOST_PROCESSES})",
    )
    parser.add_argument(
        "--geometry",
        choices=["check", "image"],
        default="check",
        help="check (default): image and label map must agree, organs must lie as in a patient; image: a label map of "
        "the image's shape takes its header, and nothing is compared",
    )
    failures = parser.add_mutually_exclusive_group()
    failures.add_argument("--stop-on-error", action="store_true", help="stop at the first case that fails")
    failures.add_argument("--skip-failed", action="store_true", help="make the dataset without the cases that fail")
    own = parser.add_argument_group("images-masks")
    own.add_argument("--labels", nargs="+", metavar="NAME=VALUE", help="values in the masks: background=0 lesion=255")
    own.add_argument("--dataset-name", metavar="NAME", help="of the dataset, after its number (default: Pictures)")
    own.add_argument("--grey", action="store_true", help="the pictures have one channel, not three")
    parser.set_defaults(run=_run)


class _UsageError(Exception):
    """Wrong usage: exit code 2."""


def _run(arguments: argparse.Namespace) -> int:
    if arguments.list:
        from rich.console import Console

        from nnunet_ext.datasets.table import table

        Console(highlight=False, markup=False).print(table())
        return 0
    try:
        request = _request(arguments)
    except _UsageError as error:
        print(f"nnunet-ext convert: {error}", file=sys.stderr)
        return 2
    try:
        with sigterm_interrupts():
            return _convert(request)
    except ConvertError as error:
        print(f"nnunet-ext convert: {error}", file=sys.stderr)
    except OSError as error:
        place = error.filename or os.environ.get("nnUNet_raw")
        print(f"nnunet-ext convert: {error.strerror or error}: {place}", file=sys.stderr)
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on after the last finished case.", file=sys.stderr)
        return 130
    return 1


def _request(arguments: argparse.Namespace) -> "Request":
    from nnunet_ext.datasets.convert import Request
    from nnunet_ext.datasets.registry import BENCHMARKS

    if arguments.name is None or arguments.source is None:
        raise _UsageError("NAME and SOURCE are needed; nnunet-ext convert --list shows the names.")
    if arguments.name not in BENCHMARKS:
        raise _UsageError(f"{arguments.name!r} is no benchmark here; there are {', '.join(BENCHMARKS)}.")
    benchmark = _own_labels(BENCHMARKS[arguments.name], arguments)
    split = arguments.split or next(iter(benchmark.splits))
    if split not in benchmark.splits:
        raise _UsageError(f"{benchmark.name} has no split {split!r}; it has {', '.join(benchmark.splits)}.")
    dataset_id = benchmark.dataset_id if arguments.d is None else arguments.d
    if not 1 <= dataset_id <= 999:
        raise _UsageError(f"-d {dataset_id}: nnU-Net's numbers go from 1 to 999.")
    processes = _default_processes() if arguments.np is None else arguments.np
    if processes < 1:
        raise _UsageError(f"-np {processes}: at least one process is needed.")
    return Request(
        benchmark=benchmark,
        source=arguments.source.expanduser().absolute(),
        dataset_id=dataset_id,
        split=split,
        processes=processes,
        geometry=arguments.geometry,
        stop_on_error=arguments.stop_on_error,
        skip_failed=arguments.skip_failed,
    )


def _own_labels(benchmark: "Benchmark", arguments: argparse.Namespace) -> "Benchmark":
    from nnunet_ext.datasets.images_masks import IMAGES_MASKS, with_labels

    if benchmark is not IMAGES_MASKS:
        if arguments.labels or arguments.dataset_name or arguments.grey:
            raise _UsageError(
                "--labels, --dataset-name and --grey belong to images-masks; the benchmarks know their own."
            )
        return benchmark
    values = {}
    for entry in arguments.labels or []:
        name, _, value = entry.rpartition("=")
        if not name or not value.isdecimal() or name in values:
            raise _UsageError(f"--labels {entry}: expected NAME=VALUE, each name once, the value a whole number.")
        values[name] = int(value)
    try:
        return with_labels(values, arguments.dataset_name or benchmark.folder, arguments.grey)
    except ConvertError as error:
        raise _UsageError(str(error)) from error


def _default_processes() -> int:
    value = os.environ.get("nnUNet_def_n_proc", "")
    if value.isdecimal() and int(value) > 0:
        return int(value)
    return min(MOST_PROCESSES, cores.usable())


def _convert(request: "Request") -> int:
    from nnunet_ext.datasets.convert import convert
    from nnunet_ext.demo.progress import Reporter

    reporter = Reporter()
    result = convert(request, nnunet_folder("nnUNet_raw", ConvertError), reporter)
    for name, reason in list(result.failed.items())[:FAILURES_SHOWN]:
        reporter.say(f"Failed: {name}: {reason}")
    if len(result.failed) > FAILURES_SHOWN:
        reporter.say(f"Failed: {len(result.failed) - FAILURES_SHOWN} more")
    summary = result.summary
    if summary is None:
        reporter.say(
            "So there is no dataset. Finished cases are kept: repair the source and run the same command again, or "
            "make the dataset without the failed cases with --skip-failed."
        )
        return 1
    for warning in summary.warnings:
        reporter.say(f"Note: {warning}")
    reporter.say(
        f"{result.folder}: {summary.n_training} training and {summary.n_test} test cases, {summary.n_folds} fold(s), "
        f"{len(result.failed)} cases skipped"
    )
    problem = _place_splits(result.folder, reporter)
    reporter.say(f"Next: nnUNetv2_plan_and_preprocess -d {request.dataset_id} --verify_dataset_integrity")
    return 1 if problem else 0


def _place_splits(dataset: Path, reporter: "Reporter") -> bool:
    """Put the folds where nnU-Net reads them; returns whether another split is in the way."""
    from nnunet_ext.datasets import splits

    if not (dataset / splits.FILE).is_file():
        return False
    preprocessed = os.environ.get("nnUNet_preprocessed")
    if not preprocessed:
        reporter.say(
            f"nnUNet_preprocessed is not set: before training, copy {splits.FILE} to the dataset's folder there"
        )
        return False
    problem = splits.place(dataset, Path(preprocessed))
    reporter.say(f"Attention: {problem}" if problem else f"Folds: {Path(preprocessed) / dataset.name / splits.FILE}")
    return bool(problem)
