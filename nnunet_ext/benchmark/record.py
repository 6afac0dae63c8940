"""`nnunet_ext_job.json` in a fold's folder: what the training cost."""

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nnunet_ext.benchmark.results import FoldResults
from nnunet_ext.demo.results import PACKAGES, device_name
from nnunet_ext.files import write_text
from nnunet_ext.locks import Owner
from nnunet_ext.versions import versions

FILE = "nnunet_ext_job.json"


@contextmanager
def recorded(results: FoldResults, device: str, killed: Owner | None) -> Iterator[None]:
    """Add what the block costs to the fold's record: at its beginning, and at its end however it ends.

    Args:
        results: the fold.
        device: of torch: "cuda", "mps" or "cpu".
        killed: who trained the fold before and could not write down what that took.
    """
    earlier = read(results)
    begun = time.monotonic()
    seconds = float(earlier.get("seconds", 0.0)) + _lost(results, killed)
    resumed = int(earlier.get("resumed", 0)) + int(results.has_checkpoint() and not results.is_trained())

    def write() -> None:
        record = {
            "seconds": round(seconds + time.monotonic() - begun, 1),
            "seconds_per_epoch": results.seconds_per_epoch(),
            "peak_gpu_bytes": _larger(earlier.get("peak_gpu_bytes"), _peak_gpu(device)),
            "peak_rss_bytes": _larger(earlier.get("peak_rss_bytes"), _peak_rss()),
            "device": device_name(device),
            "versions": versions(PACKAGES),
            "resumed": resumed,
        }
        write_text(results.folder / FILE, json.dumps(record, indent=2) + "\n")

    write()
    try:
        yield
    finally:
        write()


def read(results: FoldResults) -> dict[str, Any]:
    """The fold's record, {} if there is none."""
    try:
        record = json.loads((results.folder / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _lost(results: FoldResults, killed: Owner | None) -> float:
    """Seconds from the start of a training that was killed to its last line in a log."""
    last = results.last_sign()
    return 0.0 if killed is None or last is None else max(0.0, last - killed.since)


def _peak_gpu(device: str) -> int | None:
    """What torch's allocator reserved at most, in bytes: so much must be free on the GPU."""
    import torch

    return int(torch.cuda.max_memory_reserved()) if device == "cuda" else None


def _peak_rss() -> int:
    """The largest resident memory of this process, without its workers, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _larger(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)
