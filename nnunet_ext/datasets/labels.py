"""Label values: read as whole numbers, mapped, nothing else let through."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from nnunet_ext.datasets.errors import CaseError

ROUNDING = 1e-3
"""What a value stored as a float, or scaled by its header, may lie beside a whole number."""

Labels = npt.NDArray[np.uint8]


def remap(values: npt.NDArray[np.generic], label_map: Mapping[int, int]) -> Labels:
    """Each value's entry in `label_map`, in the same shape.

    Raises:
        CaseError: if a value is no whole number, or has no entry; it names the value.
    """
    whole = _whole_numbers(values)
    found = _distinct(whole)
    unknown = sorted(value for value in found if value not in label_map)
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise CaseError(
            f"the label map holds the value{'s' if len(unknown) > 1 else ''} {', '.join(map(str, unknown[:3]))}{more}, "
            f"expected {_ranges(label_map)}"
        )
    table = np.zeros(max(found, default=0) + 1, np.uint8)
    for value in found:
        table[value] = label_map[value]
    return table[whole]


def counts(labels: Labels) -> dict[int, int]:
    """Number of voxels of each foreground value that occurs."""
    flat = labels.ravel(order="K")  # a view, whatever the order of the axes
    numbers = np.bincount(flat[flat > 0])
    return {value: int(number) for value, number in enumerate(numbers) if number}


def _whole_numbers(values: npt.NDArray[np.generic]) -> npt.NDArray[np.integer]:
    if values.dtype.kind in "iub":
        return values.astype(np.uint8) if values.dtype.kind == "b" else values.astype(values.dtype, copy=False)
    if values.dtype.kind != "f":
        raise CaseError(f"the label map has values of the type {values.dtype}, expected whole numbers")
    if not np.isfinite(values).all():
        raise CaseError("the label map holds NaN or infinite values")
    rounded = np.rint(values)
    beside = np.abs(values - rounded) > ROUNDING
    if beside.any():
        raise CaseError(f"the label map holds {float(values[beside][0]):g}, which is no whole number")
    return rounded.astype(np.int64)


def _distinct(values: npt.NDArray[np.integer]) -> list[int]:
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        return [int(value) for value in np.unique(values)]
    present = np.zeros(int(values.max()) + 1, np.bool_)  # many times faster than sorting a large label map
    present[values] = True
    return [int(value) for value in np.flatnonzero(present)]


def _ranges(label_map: Mapping[int, int]) -> str:
    values = sorted(label_map)
    if values == list(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values))
