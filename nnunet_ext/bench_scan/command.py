"""The command `nnunet-ext bench-scan`."""

import argparse
import sys
from pathlib import Path


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    bench = commands.add_parser("bench-scan", help="time, memory and error of every selective scan that runs here")
    bench.add_argument(
        "--shape", action="append", default=[], metavar="B,D,L[,N]", help="instead of LKM-UNet's; may be repeated"
    )
    bench.add_argument("--network", action="store_true", help="also a training step of the whole 3D LKM-UNet")
    bench.add_argument("--device", choices=["auto", "cuda", "mps", "cpu"], default="auto")
    bench.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    bench.add_argument(
        "--repetitions", type=_positive, default=10, help="runs of which the median counts (default: %(default)s)"
    )
    bench.add_argument(
        "--out", type=Path, default=Path("bench_scan"), help="folder for scan.json and scan.png (default: %(default)s)"
    )
    bench.set_defaults(run=_run)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of runs: give 1 or more")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    from nnunet_ext.bench_scan.cases import parse
    from nnunet_ext.bench_scan.main import run

    try:
        cases = [parse(shape) for shape in arguments.shape]
        out: Path = arguments.out
        for line in run(cases, arguments.network, arguments.device, arguments.dtype, arguments.repetitions, out):
            print(line, flush=True)
    except ValueError as error:
        print(f"nnunet-ext bench-scan: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"nnunet-ext bench-scan: {error}", file=sys.stderr)
        return 1
    return 0
