"""The command `nnunet-ext bench report`."""

import argparse
import sys
from pathlib import Path


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of a command line."""
    parser = commands.add_parser("report", help="tables, statistics and figures of a benchmark matrix")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="holds matrix.json, as `nnunet-ext bench` wrote it")
    parser.add_argument("--out", type=Path, default=None, metavar="DIR", help="default: FOLDER/report")
    parser.add_argument(
        "--without-images", type=int, action="append", default=[], metavar="ID",
        help="show no image of this data set, where its licence forbids it; may be repeated",
    )  # fmt: skip
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from nnunet_ext.benchmark.errors import BenchmarkError
    from nnunet_ext.benchmark_report import main

    try:
        page = main.write(arguments.folder, arguments.out or arguments.folder / "report", arguments.without_images)
    except BenchmarkError as error:
        print(f"nnunet-ext bench report: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"nnunet-ext bench report: the report could not be written ({error}).", file=sys.stderr)
        return 1
    print(f"written: {page}, with report.md, report.tex, scores.csv, cases.csv, tables and figures beside it")
    return 0
