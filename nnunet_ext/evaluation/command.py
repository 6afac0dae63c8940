"""The command `nnunet-ext evaluate`."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext import cores
from nnunet_ext.interrupt import sigterm_interrupts

if TYPE_CHECKING:
    from rich.table import Table

    from nnunet_ext.evaluation.labels import Labels
    from nnunet_ext.evaluation.protocols.base import Protocol

PROTOCOLS = {
    "nnunet": "nnU-Net's Dice and IoU; also HD95, ASSD, precision, recall, volumes",
    "flare22": "FLARE22: Dice, surface Dice at the organs' tolerances",
    "umamba": "the same as in the scripts of U-Mamba and LKM-UNet",
    "amos": "AMOS22: Dice, surface Dice",
    "transunet": "Synapse as TransUNet and MLLA-UNet score it: Dice, HD95 in voxels",
    "word": "WORD: Dice, HD95 in mm",
    "refuge": "REFUGE: Dice of disc and cup, error of the vertical cup-to-disc ratio",
    "mmunet2d": "mIoU and accuracies, as far as Mixed-MLP MM-UNet defines them",
}
"""A line each; here and not with their classes, so that the parser needs no NumPy."""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate",
        help="score predictions by a named protocol: FLARE22, AMOS, Synapse, WORD, REFUGE, nnU-Net's own ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="protocols:\n" + "\n".join(f"  {name:<10} {words}" for name, words in PROTOCOLS.items()),
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="REFERENCE_FOLDER PREDICTION_FOLDER")
    parser.add_argument("--protocol", required=True, choices=PROTOCOLS, metavar="NAME", help="see below")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="TRAINED_MODEL_FOLDER",
        help="instead of two folders: every fold's validation folder, against nnU-Net's gt_segmentations",
    )
    parser.add_argument(
        "--dataset-json",
        type=Path,
        metavar="FILE",
        help="names the labels (default: the one beside REFERENCE_FOLDER or in PREDICTION_FOLDER)",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for the two files (default: PREDICTION_FOLDER)")
    parser.add_argument("--classes", metavar="A,B", help="score these only; all: every one")
    parser.add_argument("--tolerance", type=float, metavar="MM", help="of the surface Dice; protocol amos only")
    parser.add_argument("-np", type=int, default=min(8, cores.usable()), metavar="N", help="cases at a time")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate what was asked; 1 if a case or a fold failed, 130 if it was interrupted."""
    from nnunet_ext.evaluation.errors import EvaluationError

    try:
        if wrong := _wrong_usage(arguments):
            raise EvaluationError(wrong)
        with sigterm_interrupts():
            return _evaluate_model(arguments) if arguments.results else _evaluate_folders(arguments)
    except EvaluationError as error:
        print(f"nnunet-ext evaluate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("nnunet-ext evaluate: interrupted; nothing half-written was left.", file=sys.stderr)
        return 130
    except OSError as error:  # of writing; what a case's own files do is said with the case
        print(f"nnunet-ext evaluate: {error}; nothing half-written was left.", file=sys.stderr)
        return 1


def _wrong_usage(arguments: argparse.Namespace) -> str | None:
    if arguments.results and (arguments.folders or arguments.out or arguments.dataset_json):
        return "--results names the model's own folders; it goes with no other folder, --out or --dataset-json."
    if not arguments.results and len(arguments.folders) != 2:
        return f"Give REFERENCE_FOLDER and PREDICTION_FOLDER, or --results; folders given: {len(arguments.folders)}."
    if arguments.np < 1:
        return f"-np must be 1 or more, not {arguments.np}."
    return None


def _evaluate_folders(arguments: argparse.Namespace) -> int:
    from nnunet_ext.evaluation.evaluate import ending_of, find_cases
    from nnunet_ext.evaluation.labels import read_labels

    reference, prediction = arguments.folders
    references = find_cases(reference)
    predictions = find_cases(prediction, ending_of(references))
    places = [reference.resolve().parent / "dataset.json", prediction / "dataset.json"]
    found = arguments.dataset_json or next((place for place in places if place.is_file()), None)
    protocol = _protocol(arguments, read_labels(found) if found else None)
    origin = {
        "reference": str(reference),
        "prediction": str(prediction),
        "dataset_json": str(found) if found else None,
    }
    return _evaluate(references, predictions, protocol, arguments.out or prediction, origin, arguments.np)


def _evaluate_model(arguments: argparse.Namespace) -> int:
    from nnunet_ext.evaluation.evaluate import ending_of, with_ending
    from nnunet_ext.evaluation.labels import read_labels
    from nnunet_ext.evaluation.trained_model import read_trained_model

    model = read_trained_model(arguments.results)
    labels = read_labels(model.dataset_json)
    codes = []
    for fold in model.folds:
        print(f"{fold.name}:")
        if not fold.validation.is_dir():
            print(f"  has no folder {fold.validation.name}: it was not validated")
            codes.append(1)
            continue
        protocol = _protocol(arguments, labels)
        if fold.note:
            protocol.notes.append(fold.note)
        predictions = with_ending(fold.validation, ending_of(fold.references))
        origin = {
            "reference": str(model.references),
            "prediction": str(fold.validation),
            "dataset_json": str(model.dataset_json),
        }
        codes.append(_evaluate(fold.references, predictions, protocol, fold.validation, origin, arguments.np))
    return max(codes)


def _protocol(arguments: argparse.Namespace, labels: "Labels | None") -> "Protocol":
    from nnunet_ext.evaluation.protocols import make

    classes = [name.strip() for name in arguments.classes.split(",")] if arguments.classes else None
    return make(arguments.protocol, labels, classes, arguments.tolerance)


def _evaluate(
    references: dict[str, Path],
    predictions: dict[str, Path],
    protocol: "Protocol",
    out: Path,
    origin: Mapping[str, str | None],
    processes: int,
) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from nnunet_ext.evaluation import summary as summaries
    from nnunet_ext.evaluation.evaluate import evaluate

    summaries.prepare(out)
    console = Console(highlight=False, markup=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(protocol.name, total=len(references.keys() & predictions.keys()))
        result = evaluate(references, predictions, protocol, processes, lambda _: progress.advance(task))
    summary = {**summaries.summarize(protocol, result), **origin}
    console.print(_table(summary, protocol.metrics))
    for note in [*protocol.notes, summary["how_averaged"]]:
        console.print(note, soft_wrap=True)
    for case, reason in result.failed.items():
        console.print(f"not scored: {case}: {reason}", soft_wrap=True)
    paths = summaries.write(summary, result, out)  # after the table, which is not lost if the disk is full
    console.print(f"written: {paths[0]}, {paths[1]}", soft_wrap=True)
    return 1 if result.failed else 0


def _table(summary: dict[str, Any], metrics: tuple[str, ...]) -> "Table":
    from rich import box
    from rich.table import Table

    units = summary["units"]
    known = [metric for metric in metrics if metric in units]
    table = Table(
        box=box.HORIZONTALS, title=f"{summary['protocol']}, cases scored: {summary['n_cases']}", title_justify="left"
    )
    table.add_column("class")
    for metric in known:
        unit = "" if units[metric] == "1" else f" [{units[metric]}]"
        table.add_column(metric + unit, justify="right", overflow="fold")
    rows = {**summary["mean"], "mean of foreground classes": summary["foreground_mean"]}
    for name, numbers in rows.items():
        if numbers.keys().isdisjoint(known):  # a protocol of whole images has only counts of its classes
            continue
        table.add_row(name, *(_words(numbers.get(metric, "")) for metric in known))
    if not summary["complete"]:
        table.caption = f"INCOMPLETE, cases not scored: {len(summary['failed_cases'])}"
    return table


def _words(number: float | str | None) -> str:
    if number is None:
        return "undefined"
    return number if isinstance(number, str) else f"{number:.4f}"
