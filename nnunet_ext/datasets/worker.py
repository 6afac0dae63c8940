"""One case, from the source into the building folder; runs in a process of its own."""

import errno
from dataclasses import dataclass

from nnunet_ext.datasets.benchmark import Benchmark, Case
from nnunet_ext.datasets.building import Building
from nnunet_ext.datasets.check import Geometry
from nnunet_ext.datasets.errors import CaseError
from nnunet_ext.one_line import in_one_line

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of the disk that every further case would meet as well."""


@dataclass(frozen=True)
class Outcome:
    """How a case went."""

    name: str
    reason: str = ""
    """Why it failed; empty if it did not."""
    disk_full: bool = False


def run(case: Case, benchmark: Benchmark, geometry: Geometry, building: Building) -> Outcome:
    """Convert one case; whatever is wrong with it comes back as the reason."""
    try:
        _run(case, benchmark, geometry, building)
    except OSError as error:
        if error.errno in FULL:
            return Outcome(case.name, f"{error.strerror}: {error.filename or building.folder}", disk_full=True)
        return Outcome(case.name, in_one_line(error))
    except CaseError as error:
        return Outcome(case.name, str(error))
    except Exception as error:  # a damaged file shows itself by whatever its reader's parts raise
        return Outcome(case.name, in_one_line(error))
    return Outcome(case.name)


def _run(case: Case, benchmark: Benchmark, geometry: Geometry, building: Building) -> None:
    if not case.images:
        raise CaseError("the source holds no image" if case.label else "the source holds neither image nor label map")
    if case.label is None and case.part != "test":
        raise CaseError("the source holds no label map")
    with building.scratch() as folder:
        if benchmark.file_ending == ".png":
            from nnunet_ext.datasets import pictures

            record = pictures.convert(case, benchmark, folder)
        else:
            from nnunet_ext.datasets import volumes

            record = volumes.convert(case, benchmark, geometry, folder)
        if case.label is not None and not record.labels and not benchmark.empty_allowed:
            raise CaseError("the label map holds nothing but background")
        building.add(case, folder, record)
