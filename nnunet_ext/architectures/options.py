"""Checking the arguments of networks: each error names the value, and what was expected."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

from torch import Tensor, nn


def check_option(name: str, value: str, known: Sequence[str]) -> None:
    """Raise ValueError if `value` is not one of those that option `name` knows."""
    if value not in known:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, known))}")


def check_positive(**numbers: Any) -> None:
    """Raise ValueError if one of these arguments is not a whole number of at least 1."""
    for name, value in numbers.items():
        if not are_positive([value]):
            raise ValueError(f"{name} is {value!r}, expected at least 1")


def are_positive(numbers: Any, length: int | None = None) -> bool:
    """Whether these are whole numbers of at least 1, `length` of them or, for None, any number but none."""
    if not isinstance(numbers, Iterable):
        return False
    checks = [isinstance(number, Integral) and int(number) >= 1 for number in numbers]
    return all(checks) and (len(checks) == length if length else len(checks) > 0)


def check_size(name: str, size: Sequence[int], n_axes: int) -> None:
    """Raise ValueError if `size` is not that of an image with `n_axes` axes; batch and channels do not belong to it."""
    if len(size) != n_axes or min(size) < 1:
        raise ValueError(f"{name} {tuple(size)} must have {n_axes} axes, each at least 1, without batch and channels")


def check_image(image: Tensor, n_axes: int) -> None:
    """Raise ValueError if `image` is not (B, C, *size) with `n_axes` axes."""
    if image.ndim != n_axes + 2:
        raise ValueError(f"the image has the shape {tuple(image.shape)}, expected batch, channels and {n_axes} axes")


def check_operators(conv_op: type[nn.Module], **operators: type[nn.Module] | None) -> int:
    """The number of axes of `conv_op`.

    Raises:
        ValueError: if that is no convolution in 2D or 3D, or if another operator, as `norm_op`, has other axes.
    """
    if conv_op not in (nn.Conv2d, nn.Conv3d):
        raise ValueError(f"conv_op is {conv_op}, expected torch.nn.Conv2d or torch.nn.Conv3d")
    n_axes = 2 if conv_op is nn.Conv2d else 3
    for name, operator in operators.items():
        found = "" if operator is None else operator.__name__
        if found.endswith(("1d", "2d", "3d")) and not found.endswith(f"{n_axes}d"):
            raise ValueError(f"{name} is {found}, expected one for {n_axes} axes, as conv_op is {conv_op.__name__}")
    return n_axes
