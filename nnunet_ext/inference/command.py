"""`nnunet-ext predict`: nnU-Net's prediction, one case at a time, in bounded memory."""

import argparse
import sys
from pathlib import Path

from nnunet_ext.interrupt import sigterm_interrupts


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command, with the names that nnUNetv2_predict_from_modelfolder gives its options."""
    parser = commands.add_parser("predict", help="nnU-Net's labels in bounded memory, one case at a time")
    parser.add_argument("-i", type=Path, metavar="INPUT", help="folder of images: NAME_0000.nii.gz, one per channel")
    parser.add_argument("-o", type=Path, metavar="OUTPUT", help="folder of the label maps; it is made if absent")
    parser.add_argument(
        "-m", type=Path, required=True, metavar="MODEL_FOLDER", help=".../DatasetXXX_Name/TRAINER__PLANS__CONFIG"
    )
    parser.add_argument("-f", nargs="+", metavar="FOLD", help="numbers or all (default: the folds that are there)")
    parser.add_argument("-chk", default="checkpoint_final.pth", metavar="NAME", help="default: %(default)s")
    parser.add_argument("-step_size", type=float, default=0.5, metavar="PART", help="of a tile (default: %(default)s)")
    parser.add_argument("--disable_tta", action="store_true", help="no mirrored tiles: faster, less accurate")
    parser.add_argument("--continue_prediction", "--c", action="store_true", help="leave what is there already")
    parser.add_argument(
        "-prev_stage_predictions", type=Path, metavar="FOLDER", help="for the second stage of a cascade"
    )
    parser.add_argument("-device", metavar="NAME", help="cuda, mps or cpu (default: the first of them that there is)")
    parser.add_argument("--not_on_device", action="store_true", help="sum up tiles in the memory of the CPU")
    parser.add_argument("--disable_progress_bar", action="store_true", help="it is shown on terminals only")
    parser.add_argument(
        "--max-memory",
        type=float,
        metavar="GIB",
        help="for logits and their resampling; the rest goes to a file in TMPDIR (default: half of what is free)",
    )
    parser.add_argument("--warm", action="store_true", help="only load the model and run a tile: fills kernel caches")
    parser.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> int:
    if wrong := _wrong_usage(arguments):
        print(f"nnunet-ext predict: {wrong}", file=sys.stderr)
        return 2
    from nnunet_ext import _startup

    _startup.register()  # for a Python that runs no start-up files
    try:
        with sigterm_interrupts():
            return _run(arguments)
    except KeyboardInterrupt:
        hint = "" if arguments.warm else "; --continue_prediction goes on with the next case"
        print(f"nnunet-ext predict: interrupted{hint}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"nnunet-ext predict: {error}", file=sys.stderr)
        return 1


def _wrong_usage(arguments: argparse.Namespace) -> str | None:
    if arguments.warm != (arguments.i is None) or arguments.warm != (arguments.o is None):
        return "give -i INPUT and -o OUTPUT, or --warm without them."
    if not 0 < arguments.step_size <= 1:
        return f"-step_size is {arguments.step_size}, expected more than 0 and at most 1."
    if arguments.max_memory is not None and arguments.max_memory < 0:
        return f"--max-memory is {arguments.max_memory}, expected 0 or more."
    for fold in arguments.f or ():
        if fold != "all" and not fold.isdecimal():
            return f"-f has {fold!r}, expected numbers or all."
    return None


def _run(arguments: argparse.Namespace) -> int:
    from nnunet_ext.inference.loading import load

    predictor = load(
        arguments.m,
        arguments.f,
        arguments.chk,
        device=arguments.device,
        step_size=arguments.step_size,
        mirroring=not arguments.disable_tta,
        on_device=not arguments.not_on_device,
        max_memory=arguments.max_memory,
        progress=sys.stderr.isatty() and not arguments.disable_progress_bar,
    )
    if arguments.warm:
        predictor.warm()
        return 0
    from nnunet_ext.inference.folder import predict_folder

    outcome = predict_folder(
        predictor,
        arguments.i,
        arguments.o,
        previous=arguments.prev_stage_predictions,
        overwrite=not arguments.continue_prediction,
        done=_say,
    )
    there = f", {len(outcome.there)} were there" if outcome.there else ""
    print(
        f"{len(outcome.written)} written to {arguments.o}{there}, {len(outcome.failed)} failed, on {predictor.device}"
    )
    return 1 if outcome.failed else 0


def _say(name: str, result: float | str) -> None:
    if isinstance(result, str):
        print(f"failed: {name}: {result}", file=sys.stderr, flush=True)
    else:
        print(f"{name}: {result:.1f} s", flush=True)
