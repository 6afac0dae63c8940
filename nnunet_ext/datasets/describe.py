"""The texts of a converted dataset: dataset.json, licence and citation, what became of each case."""

import re
import shutil
from pathlib import Path

from nnunet_ext import __version__
from nnunet_ext.datasets.benchmark import Benchmark
from nnunet_ext.datasets.source import Source
from nnunet_ext.files import write_text

LICENCE_FILE = "LICENCE_AND_CITATION.txt"
FROM_SOURCE = "from_source"
NOTICE = re.compile(r"(?:.*/)?[^/]*(?:licen[cs]e|citation|readme|terms)[^/]*\.(?:txt|md|pdf|rst)", re.IGNORECASE)
READER = (
    "The scans have mixed orientation, so dataset.json names the reader {}, which turns them. Predictions must be "
    "made with it too."
)
LARGEST_NOTICE = 5_000_000
"""Bytes."""


def write_dataset_json(folder: Path, benchmark: Benchmark, name: str, split: str, n_training: int) -> None:
    """Write nnU-Net's description of the dataset into `folder`."""
    from nnunetv2.dataset_conversion.generate_dataset_json import generate_dataset_json

    generate_dataset_json(
        str(folder),
        channel_names={str(index): channel for index, channel in enumerate(benchmark.channel_names)},
        labels=dict(benchmark.labels),
        num_training_cases=n_training,
        file_ending=benchmark.file_ending,
        regions_class_order=benchmark.regions_class_order,
        dataset_name=name,
        reference=benchmark.obtain,
        description=f"{benchmark.title}. Split {split}: {benchmark.splits[split]}",
        overwrite_image_reader_writer=benchmark.reader,
        license=benchmark.licence,
        converted_by=f"nnunet_ext {__version__}, nnunet-ext convert {benchmark.name}",
        citations=list(benchmark.citations),
    )


def write_licence(folder: Path, benchmark: Benchmark, split: str, source: Source) -> list[str]:
    """Write licence and citation into `folder`, and copy the source's own notices beside them.

    Returns:
        What is to be said of notices that cannot be read.
    """
    parts = [
        benchmark.title,
        f"Where from: {benchmark.obtain}",
        f"Licence: {benchmark.licence}",
        "Cite:\n" + "\n".join(f"- {citation}" for citation in benchmark.citations),
        f"Split {split}: {benchmark.splits[split]}",
        *([benchmark.remarks] if benchmark.remarks else []),
        *([READER.format(benchmark.reader)] if benchmark.reader else []),
        f"Converted by nnunet_ext {__version__}. The licence is a note, not legal advice: the terms that you agreed to "
        f"when you downloaded the data hold. The source's own notices, if it had any, are in {FROM_SOURCE}/.",
    ]
    write_text(folder / LICENCE_FILE, "\n\n".join(parts) + "\n")
    shutil.rmtree(folder / FROM_SOURCE, ignore_errors=True)
    return _copy_notices(source, folder / FROM_SOURCE)


def _copy_notices(source: Source, folder: Path) -> list[str]:
    warnings = []
    for file in source.files:
        if not NOTICE.fullmatch(file.name) or file.size > LARGEST_NOTICE:
            continue
        try:
            text = file.read()
        except Exception as error:  # a damaged archive raises anything; the images have been read from it
            warnings.append(f"{file.name} could not be read ({type(error).__name__}: {error}) and is not copied")
            continue
        folder.mkdir(exist_ok=True)
        (folder / file.name.replace("/", "__")).write_bytes(text)
    return warnings
