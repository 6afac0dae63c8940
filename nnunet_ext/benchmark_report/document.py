"""What a report says, before it is Markdown, LaTeX or HTML: sections of paragraphs, tables and figures."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Value = str | float | None
Best = Literal["", "highest", "lowest"]
DASH = "–"  # noqa: RUF001


def fixed(digits: int, sign: bool = False) -> Callable[[float], str]:
    """A number with so many decimals, with its sign if wanted."""
    return lambda number: f"{number:{'+' if sign else ''}.{digits}f}"


def count(number: float) -> str:
    """A whole number."""
    return f"{number:.0f}"


def p_value(number: float) -> str:
    """A p value with three decimals."""
    return "<0.001" if number < 0.001 else f"{number:.3f}"


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    title: str
    form: Callable[[float], str] = count
    best: Best = ""
    """Which number is set in bold."""
    words: int = 0
    """The relative width of a column of sentences; 0 for names and numbers, which stay on one line."""

    def show(self, value: Value) -> str:
        """The text of a value of this column."""
        if isinstance(value, str):
            return value
        return DASH if value is None or math.isnan(value) else self.form(value)


@dataclass(frozen=True)
class Table:
    """Rows of values; text and number may share a column, None is a dash."""

    name: str
    """Of its CSV file."""
    caption: str
    columns: list[Column]
    rows: list[list[Value]]

    @property
    def wordy(self) -> bool:
        """Whether it has columns of sentences, and so runs over pages."""
        return any(column.words for column in self.columns)

    def shown(self) -> list[list[tuple[str, bool]]]:
        """Every value as text, and whether it is the best of its column (as printed, and not if all are equal)."""
        best = [self._best(index) for index in range(len(self.columns))]
        texts = [[column.show(value) for column, value in zip(self.columns, row, strict=True)] for row in self.rows]
        return [[(text, text == mark) for text, mark in zip(row, best, strict=True)] for row in texts]

    def _best(self, index: int) -> str | None:
        column = self.columns[index]
        values = [row[index] for row in self.rows]
        numbers = [value for value in values if isinstance(value, int | float) and not math.isnan(value)]
        if not column.best or len({column.show(number) for number in numbers}) < 2:
            return None
        return column.show(max(numbers) if column.best == "highest" else min(numbers))


@dataclass(frozen=True)
class Figure:
    """A picture with its caption."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: list[str | Table | Figure] = field(default_factory=list)
    level: int = 1
    """2 for a part of the section before."""


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    sections: list[Section]

    @property
    def tables(self) -> list[Table]:
        """All tables, in their order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Table)]
