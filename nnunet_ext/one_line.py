"""Errors in one line: libraries raise some of many lines."""


def in_one_line(error: Exception, most: int | None = None) -> str:
    """The kind of an error and what it says; `most` is how many characters of that, None all."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:most]}"
