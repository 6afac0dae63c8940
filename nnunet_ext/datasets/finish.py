"""The last step: folds and texts of a dataset whose cases are converted, and its real name."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nnunet_ext import __version__
from nnunet_ext.datasets import describe, splits
from nnunet_ext.datasets.benchmark import Benchmark, Case
from nnunet_ext.datasets.building import Building
from nnunet_ext.datasets.errors import ConvertError
from nnunet_ext.datasets.source import Source
from nnunet_ext.files import write_text

REPORT = "conversion.json"


@dataclass(frozen=True)
class Summary:
    """What is in a finished dataset."""

    n_training: int
    n_test: int
    n_folds: int
    warnings: list[str]


def finish(
    cases: Sequence[Case],
    failed: Mapping[str, str],
    benchmark: Benchmark,
    split: str,
    building: Building,
    source: Source,
) -> Summary:
    """Complete the dataset without the failed cases; dataset.json comes last, then the name.

    Raises:
        ConvertError: if no training case is left, or none of the validation cases that the split needs.
    """
    done = [case for case in cases if case.name not in failed]
    for part in {case.part for case in cases} - {case.part for case in done} - {"test"}:
        raise ConvertError(f"No {part} case could be converted, so there is no dataset.")
    building.keep_only(done)
    records = {case.name: building.record(case) or {} for case in done}
    folder = building.folder
    folds = splits.folds(benchmark, done, folder / "labelsTr")
    warnings = _too_few(cases, benchmark) + _warnings(done, records, benchmark)
    if folds:
        write_text(folder / splits.FILE, splits.to_json(folds))
    else:
        warnings.append(f"fewer than {splits.N_FOLDS} training cases make no folds: train with fold all")
    warnings += describe.write_licence(folder, benchmark, split, source)
    report = {
        "benchmark": benchmark.name,
        "split": split,
        "source": str(source.path),
        "version": __version__,
        "skipped": failed,
        "warnings": warnings,
        "cases": {case.name: {"part": case.part} | records[case.name] for case in done},
    }
    write_text(folder / REPORT, json.dumps(report, indent=1) + "\n")
    n_training = sum(case.part != "test" for case in done)
    describe.write_dataset_json(folder, benchmark, building.target.name, split, n_training)
    building.finish()
    return Summary(n_training, len(done) - n_training, len(folds), warnings)


def _too_few(cases: Sequence[Case], benchmark: Benchmark) -> list[str]:
    n_test = sum(case.part == "test" for case in cases)
    found = len(cases) - n_test, n_test
    if benchmark.n_cases in (None, found):
        return []
    return [
        "the source holds {} training and {} test cases, the whole download {} and {}".format(
            *found, *benchmark.n_cases
        )
    ]


def _warnings(
    done: Sequence[Case], records: Mapping[str, Mapping[str, dict[str, int]]], benchmark: Benchmark
) -> list[str]:
    warnings = []
    present = {int(value) for case in done if case.part != "test" for value in records[case.name]["labels"]}
    for name, values in benchmark.labels.items():
        wanted = {values} if isinstance(values, int) else set(values)
        if name != "background" and not wanted & present:
            warnings.append(f"no training case holds the label {name}")
    unlabelled = [case for case in done if case.label is None]
    if unlabelled:
        warnings.append(f"{len(unlabelled)} test cases have no label map in the source: imagesTs only")
    noted = [case.name for case in done if records[case.name]["notes"]]
    if noted:
        warnings.append(f"{len(noted)} label maps needed a change of geometry, such as {noted[0]}: see {REPORT}")
    return warnings
