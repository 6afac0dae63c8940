"""What the demo prints: bars on a terminal, one plain line per step elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

SECONDS_BETWEEN_LINES = 10.0
"""Without a terminal, a long step says where it is no more often than this."""


class Step:
    """A running step: `advance` says how far it is."""

    def __init__(self, reporter: "Reporter", title: str, total: float | None, bars: Progress | None) -> None:
        self._reporter = reporter
        self._title = title
        self._total = total
        self._bars = bars
        self._task = bars.add_task(title, total=total, note="") if bars is not None else None
        self._last_line = time.monotonic()

    def advance(self, completed: float, note: str = "") -> None:
        """`completed` of the step's total is done; `note` is a few words about now."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=completed, note=note)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            share = f" {100 * completed / self._total:.0f} %" if self._total else ""
            self._reporter.say(f"{self._title}:{share} {note}".rstrip())

    def finish(self) -> None:
        """Fill the bar."""
        if self._bars is not None and self._task is not None:
            total = self._total or 1
            self._bars.update(self._task, total=total, completed=total)


class Reporter:
    """Steps and messages on one console."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, markup=False, soft_wrap=True)
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line, with the seconds since the start in front."""
        self._console.print(f"[{time.monotonic() - self._start:5.0f} s] {text}")

    @contextmanager
    def step(self, title: str, total: float | None = None) -> Iterator[Step]:
        """Show `title` as running while the block runs, and how long it took."""
        begun = time.monotonic()
        if self._console.is_terminal:
            columns = (
                SpinnerColumn(finished_text="✓"),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
            )
            with Progress(*columns, console=self._console) as bars:
                step = Step(self, title, total, bars)
                yield step
                step.finish()
            return
        self.say(f"{title} ...")
        yield Step(self, title, total, None)
        self.say(f"{title}: done in {time.monotonic() - begun:.0f} s")
