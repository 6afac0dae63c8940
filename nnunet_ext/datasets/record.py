"""What is known of a converted case."""

from dataclasses import dataclass, field


@dataclass
class Record:
    """Kept in conversion.json for every case."""

    shape: list[int]
    """Voxels along the axes as stored, or width and height in pixels."""
    spacing: list[float]
    """In mm along the same axes; nothing for pictures."""
    orientation: str
    """nibabel's axis codes, such as LPS; nothing for pictures."""
    labels: dict[int, int] = field(default_factory=dict)
    """Voxels of each foreground value, after mapping."""
    notes: list[str] = field(default_factory=list)
    """What was changed besides values."""
