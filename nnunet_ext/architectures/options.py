"""Checking the options of networks."""

from collections.abc import Sequence


def check_option(name: str, value: str, known: Sequence[str]) -> None:
    """Raise ValueError if `value` is not one of those that option `name` knows."""
    if value not in known:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, known))}")
