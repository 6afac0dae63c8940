"""The command `nnunet-ext`: parses, calls the package, prints."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunet_ext import __version__, _startup
from nnunet_ext.bench_scan import command as bench_scan
from nnunet_ext.benchmark import command as benchmark
from nnunet_ext.containers import command as containers
from nnunet_ext.datasets import command as datasets
from nnunet_ext.evaluation import command as evaluation
from nnunet_ext.inference import command as inference
from nnunet_ext.planning import command as planning
from nnunet_ext.sharing import command as sharing


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code: 0 done, 1 something is wrong and was said, 2 wrong usage."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_left():
            raise
        return 1
    return code


def _reader_has_left() -> bool:
    """Whether nobody reads what is printed any more, as after `| head`; nothing more is printed then."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nnunet-ext", description="LKM-UNet and other networks for stock nnU-Net v2.")
    parser.add_argument("--version", action="version", version=f"nnunet-ext {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    path = commands.add_parser("path", help="print the folder that nnUNet_extTrainer must name")
    path.set_defaults(run=_path)

    doctor = commands.add_parser("doctor", help="versions, GPU, scan backends, trainer discovery, nnU-Net's folders")
    doctor.set_defaults(run=_doctor)

    list_ = commands.add_parser("list", help="the trainers: network, dimensions, parameters, source, status")
    list_.set_defaults(run=_list)

    for package in (datasets, planning, evaluation, inference, benchmark, sharing, containers, bench_scan):
        package.add_to(commands)

    demo = commands.add_parser("demo", help="train and compare on real images, end to end, with a report page")
    demo.add_argument(
        "--data",
        default="mni152",
        help="mni152 (default: the brain template that nilearn carries), hippocampus (downloads MSD Task04), "
        "or an nnU-Net raw dataset folder",
    )
    demo.add_argument("--trainer", default="nnUNetTrainerLKMUNet", help="trainer to compare with nnU-Net's own")
    demo.add_argument("--epochs", type=int, default=None, help="epochs per network (default: a ten-minute budget)")
    demo.add_argument("--out", type=Path, default=Path("demo_out"), help="folder for data, results and report")
    demo.add_argument("--device", choices=["auto", "cuda", "mps", "cpu"], default="auto")
    demo.set_defaults(run=_demo)

    return parser


def _path(_: argparse.Namespace) -> int:
    print(_startup.FOLDER)
    return 0


def _doctor(_: argparse.Namespace) -> int:
    from nnunet_ext import doctor

    return doctor.run()


def _list(_: argparse.Namespace) -> int:
    from nnunet_ext import catalogue

    return catalogue.run()


def _demo(arguments: argparse.Namespace) -> int:
    from nnunet_ext import demo

    _startup.register()  # for a Python that runs no start-up files; the doctor must see it as it is
    return demo.run(
        data=arguments.data,
        trainer=arguments.trainer,
        epochs=arguments.epochs,
        out=arguments.out,
        device=arguments.device,
    )
