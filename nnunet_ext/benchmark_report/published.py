"""What papers and independent work reported, each number with its source. None of it was measured here."""

import json
import re
from dataclasses import dataclass
from importlib.resources import files

FILE = "published.json"


@dataclass(frozen=True)
class Report:
    """The numbers of one source on one benchmark."""

    benchmark: str
    by: str
    """authors, or independent."""
    source: str
    protocol: str
    metric: str
    unit: str
    standing: str
    """How the number came to us: read where, or derived from what."""
    values: dict[str, list[float]]
    """By network; several for repeated runs."""


@dataclass(frozen=True)
class Published:
    """The whole list."""

    trainers: dict[str, list[str]]
    """Network -> our trainers of it."""
    patterns: dict[str, str]
    """Benchmark -> regular expression of the names of data sets that are it."""
    reports: list[Report]

    def of(self, dataset: str) -> list[Report]:
        """The reports on the benchmark that a data set's name ("Dataset701_AbdomenCT") names."""
        return [report for report in self.reports if self._is(report.benchmark, dataset)]

    def elsewhere(self, datasets: list[str], trainers: list[str]) -> list[Report]:
        """The reports on other benchmarks, of networks that these trainers train."""
        return [
            report
            for report in self.reports
            if not any(self._is(report.benchmark, dataset) for dataset in datasets)
            and any(trainer in trainers for network in report.values for trainer in self.trainers.get(network, []))
        ]

    def _is(self, benchmark: str, dataset: str) -> bool:
        pattern = self.patterns.get(benchmark)
        name = re.sub(r"[^a-z0-9]", "", re.sub(r"^dataset\d+_", "", dataset.lower()))
        return pattern is not None and re.search(pattern, name) is not None


def read() -> Published:
    """Read the list that comes with the package."""
    content = json.loads(files("nnunet_ext.benchmark_report").joinpath(FILE).read_text(encoding="utf-8"))
    reports = [
        Report(**{**report, "values": {network: _list(value) for network, value in report["values"].items()}})
        for report in content["reports"]
    ]
    return Published(content["trainers"], content["patterns"], reports)


def _list(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]
