"""Scoring the cases of two folders, in parallel, so that a case that fails is named and the others go on."""

import multiprocessing
import signal
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.evaluation.errors import CaseError, EvaluationError
from nnunet_ext.evaluation.label_map import ENDINGS
from nnunet_ext.evaluation.protocols.base import Protocol, Value

KILLED = "its process was killed, with no other beside it: most likely too little memory"
Advance = Callable[[str], None]
"""Called with the name of every case that is done."""


@dataclass(frozen=True)
class Result:
    """What came of every case."""

    values: dict[str, list[Value]]
    """By case, in alphabetical order."""
    failed: dict[str, str]
    """By case: why it has no values."""


def find_cases(folder: Path, preferred_ending: str | None = None) -> dict[str, Path]:
    """The label maps of a folder by case, that is by file name without ending.

    Args:
        folder: not searched below.
        preferred_ending: taken if there are such files, whatever else there is.

    Raises:
        EvaluationError: there is no folder, no label map, or there are several kinds to choose from.
    """
    if not folder.is_dir():
        raise EvaluationError(f"There is no folder {folder}.")
    kinds = {ending: cases for ending in ENDINGS if (cases := with_ending(folder, ending))}
    if preferred_ending in kinds:
        return kinds[preferred_ending]
    if not kinds:
        raise EvaluationError(f"There is no label map in {folder}; expected are files ending in {', '.join(ENDINGS)}.")
    if len(kinds) > 1:
        raise EvaluationError(
            f"{folder} holds files ending in {' and '.join(kinds)}; keep one kind of label maps in it."
        )
    return next(iter(kinds.values()))


def with_ending(folder: Path, ending: str) -> dict[str, Path]:
    """The files of a folder with this ending, by case, without hidden ones (macOS leaves some); none is no error."""
    paths = sorted(path for path in folder.glob(f"*{ending}") if not path.name.startswith("."))
    return {path.name.removesuffix(ending): path for path in paths}


def ending_of(cases: Mapping[str, Path]) -> str:
    """The ending that all files of `find_cases` share; at least one."""
    case, path = next(iter(cases.items()))
    return path.name.removeprefix(case)


def evaluate(
    references: Mapping[str, Path],
    predictions: Mapping[str, Path],
    protocol: Protocol,
    processes: int = 1,
    advance: Advance | None = None,
) -> Result:
    """Score every case that has both files; those that have one, or cannot be scored, are failed.

    Args:
        references: by case; all of them are expected to have a prediction.
        predictions: by case.
        protocol: the definitions.
        processes: cases at a time; with 1 no further process is started.
        advance: told of every case.
    """
    failed = {case: "no prediction" for case in references if case not in predictions}
    failed |= {case: f"no reference for {predictions[case].name}" for case in predictions if case not in references}
    paths = {case: (path, predictions[case]) for case, path in sorted(references.items()) if case in predictions}
    values = {}
    with closing(_outcomes(paths, protocol, processes)) as outcomes:
        for case, outcome in outcomes:
            if isinstance(outcome, str):
                failed[case] = outcome
            else:
                values[case] = outcome
            if advance is not None:
                advance(case)
    return Result(dict(sorted(values.items())), dict(sorted(failed.items())))


def _outcomes(
    paths: Mapping[str, tuple[Path, Path]], protocol: Protocol, processes: int
) -> Generator[tuple[str, list[Value] | str], None, None]:
    """How each case went, in the order in which they end; closing the iterator begins no further case."""
    if processes == 1 or len(paths) < 2:
        for case, (reference, prediction) in paths.items():
            yield case, _score(reference, prediction, protocol)
        return
    left = dict(paths)
    while left:
        with closing(_in_processes(dict(left), protocol, processes)) as outcomes:
            for case, outcome in outcomes:
                del left[case]
                yield case, outcome
        # If some are left, a process was killed, and all cases that were not done are lost: again, with fewer.
        if left and processes == 1:
            case = next(iter(left))  # one process takes them in their order
            del left[case]
            yield case, KILLED
        processes = max(1, processes // 2)


def _in_processes(
    paths: Mapping[str, tuple[Path, Path]], protocol: Protocol, processes: int
) -> Generator[tuple[str, list[Value] | str], None, None]:
    """Score the cases until all are done or a process is killed."""
    # As nnU-Net does: forked processes and the threads of a library do not agree.
    context = multiprocessing.get_context("spawn")
    # Ctrl+C reaches every process of a terminal; this one handles it.
    ignore_interrupts = (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(min(processes, len(paths)), context, signal.signal, ignore_interrupts)
    try:
        futures = {pool.submit(_score, *both, protocol): case for case, both in paths.items()}
        for future in as_completed(futures):
            with suppress(BrokenProcessPool):
                yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _score(reference: Path, prediction: Path, protocol: Protocol) -> list[Value] | str:
    """The values of a case, or why there are none."""
    try:
        return protocol.score(protocol.load(reference, prediction))
    except CaseError as error:
        return str(error)
    except Exception as error:  # a case that fails must not take the others with it
        return f"{type(error).__name__}: {error}"
