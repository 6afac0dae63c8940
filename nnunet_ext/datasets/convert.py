"""A benchmark's download becomes an nnU-Net raw dataset."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from nnunet_ext import __version__
from nnunet_ext.datasets.benchmark import Benchmark, Case
from nnunet_ext.datasets.building import Building
from nnunet_ext.datasets.check import Geometry
from nnunet_ext.datasets.errors import ConvertError
from nnunet_ext.datasets.finish import Summary, finish
from nnunet_ext.datasets.pool import outcomes_of
from nnunet_ext.datasets.source import Source
from nnunet_ext.demo.progress import Reporter
from nnunet_ext.locks import Lock, LockedError


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    benchmark: Benchmark
    source: Path
    dataset_id: int
    split: str
    processes: int
    geometry: Geometry = "check"
    stop_on_error: bool = False
    skip_failed: bool = False


@dataclass
class Result:
    """What was done."""

    folder: Path
    """The dataset's place."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reason for each case that failed."""
    summary: Summary | None = None
    """Of the dataset; None if it was not made."""


def convert(request: Request, raw: Path, reporter: Reporter) -> Result:
    """Convert all cases, check them, and put the dataset into `raw`.

    If a case fails there is no dataset, unless failed cases are to be skipped. Finished cases are kept when others fail
    or the run is interrupted; the next run goes on from there.

    Raises:
        ConvertError: if the source is not the benchmark's, or the dataset cannot be made.
        OSError: if the disk does not let us.
    """
    building = Building(raw, f"Dataset{request.dataset_id:03d}_{request.benchmark.folder}")
    try:
        with Lock(building.lock):
            return _convert(request, building, reporter)
    except LockedError as error:
        raise ConvertError(f"{building.target.name} is being converted already: {error}.") from error


def _convert(request: Request, building: Building, reporter: Reporter) -> Result:
    benchmark = request.benchmark
    _check_free(request.dataset_id, building.target)
    # What another run left can be used if it converted the same cases in the same way.
    settings = {
        "version": __version__,
        "benchmark": benchmark.name,
        "split": request.split,
        "geometry": request.geometry,
        "label_map": sorted(benchmark.label_map.items()),
        "channels": benchmark.channel_names,
    }
    try:
        if building.begin(settings):
            reporter.say(f"{building.folder} was left by a conversion with other settings: starting anew")
        source = Source(request.source, building.unpacked, benchmark.password)
        cases = benchmark.find(source, request.split)
        _check_cases(cases, benchmark, source)
        result = Result(building.target, _convert_cases(cases, request, building, reporter))
        if not result.failed or request.skip_failed:
            result.summary = finish(cases, result.failed, benchmark, request.split, building, source)
        return result
    finally:
        building.abandon()


def _check_free(dataset_id: int, target: Path) -> None:
    from nnunetv2.utilities.dataset_name_id_conversion import find_candidate_datasets

    if target.exists():
        raise ConvertError(f"{target} is there already: delete it, or choose another number with -d.")
    others = [str(other) for other in find_candidate_datasets(dataset_id) if other != target.name]
    if others:
        raise ConvertError(f"The number {dataset_id} belongs to {', '.join(others)}: choose another with -d.")


def _check_cases(cases: Sequence[Case], benchmark: Benchmark, source: Source) -> None:
    if not any(case.images for case in cases if case.part != "test"):
        raise ConvertError(
            f"{source.path} is not {benchmark.name} as it is downloaded: no file like {benchmark.example} is in it. "
            f"Where to get it: {benchmark.obtain}"
        )
    name, number = Counter(case.name for case in cases).most_common(1)[0]
    if number > 1:
        raise ConvertError(f"{source.path} holds {number} cases with the name {name}.")


def _convert_cases(cases: Sequence[Case], request: Request, building: Building, reporter: Reporter) -> dict[str, str]:
    """Convert what is not finished yet; returns the reason for each case that failed."""
    todo = [case for case in cases if not building.has(case)]
    n_done = len(cases) - len(todo)
    if n_done:
        reporter.say(f"{n_done} of {len(cases)} cases were converted by an earlier run")
    failed = {}
    with (
        reporter.step(f"Convert {len(cases)} cases", total=float(len(cases))) as step,
        closing(outcomes_of(todo, request.benchmark, request.geometry, building, request.processes)) as outcomes,
    ):
        for outcome in outcomes:
            n_done += 1
            step.advance(float(n_done), outcome.name)
            if outcome.disk_full:
                raise ConvertError(
                    f"{outcome.reason}. Finished cases are kept: make room and run the same command again."
                )
            if outcome.reason:
                failed[outcome.name] = outcome.reason
                if request.stop_on_error:
                    break
    return failed
