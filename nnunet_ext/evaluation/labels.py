"""The classes of a data set, as its dataset.json names them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.evaluation.errors import EvaluationError


@dataclass(frozen=True)
class Labels:
    """Foreground classes and the value that is not to be scored."""

    classes: dict[str, tuple[int, ...]]
    """Name -> values in the label map; nnU-Net's regions have several."""
    ignore: int | None = None
    """Voxels with this value in the reference are not scored."""

    @property
    def values(self) -> list[int]:
        """Every value that a label map may hold, background first, without the ignore label."""
        return sorted({0, *(value for values in self.classes.values() for value in values)})


def foreground(labels: dict[str, Any]) -> dict[str, list[int]]:
    """The classes of a dataset.json with their label values, without background and ignore label."""
    values = {name: list(value) if isinstance(value, list) else [int(value)] for name, value in labels.items()}
    return {name: value for name, value in values.items() if value != [0] and name != "ignore"}


def read_labels(path: Path) -> Labels:
    """The labels of the dataset.json at `path`.

    Raises:
        EvaluationError: the file is not there, or is no dataset.json of nnU-Net v2.
    """
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        classes = {name: tuple(values) for name, values in foreground(description["labels"]).items()}
        ignore = description["labels"].get("ignore")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(
            f"{path} is not readable as a dataset.json of nnU-Net v2 ({type(error).__name__}: {error}); "
            'it needs "labels" with a value, or a list of values, for every name.'
        ) from error
    if not classes:
        raise EvaluationError(f"{path} names no class but background; nothing can be scored.")
    return Labels(classes, ignore)
