"""What one check of `nnunet-ext doctor` says."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One line of the report; `fix` is what to do about a warning or failure."""

    title: str
    state: State
    value: str
    fix: str = ""


def ok(title: str, value: str) -> Check:
    """Nothing to do."""
    return Check(title, "ok", value)


def warn(title: str, value: str, fix: str) -> Check:
    """Works, or is not needed by everybody."""
    return Check(title, "warn", value, fix)


def fail(title: str, value: str, fix: str) -> Check:
    """Training or prediction will not work."""
    return Check(title, "fail", value, fix)


def survive(title: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """The checks that `look` makes; if something is so broken that looking fails, that is the finding."""
    try:
        return list(look())
    except (Exception, SystemExit) as error:
        return [fail(title, sentence(error), "repair what this message names, then run nnunet-ext doctor again")]


def sentence(error: BaseException) -> str:
    """The kind of error and the first line of its message."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".rstrip(": ")
