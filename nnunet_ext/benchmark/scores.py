"""Whether the scores of a protocol are those of the validation that they lie beside."""

from pathlib import Path


def older_than_validation(scores: Path) -> bool:
    """Whether the fold was validated anew after `scores`, a file beside nnU-Net's summary.json, was written."""
    return scores.stat().st_mtime < scores.with_name("summary.json").stat().st_mtime
