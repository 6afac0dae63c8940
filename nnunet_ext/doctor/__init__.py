"""`nnunet-ext doctor`: what works here, what does not, and what to do about it."""

import warnings

from rich.console import Console
from rich.markup import escape

from nnunet_ext.doctor import device, discovery, folders, scan, software
from nnunet_ext.doctor.check import Check, survive

__all__ = ["Check", "checks", "run"]

MARKS = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red bold]FAIL[/]"}


def checks() -> list[Check]:
    """Every check; one that breaks is a failed check, never an exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the packages that are imported here
        return [
            *survive("software", software.checks),
            *survive("device", device.checks),
            *survive("selective scan", scan.checks),
            *survive("discovery", discovery.checks),
            *survive("folders", folders.checks),
        ]


def run() -> int:
    """Print the report, with the remedy below what needs one; returns 0 if nothing failed, else 1."""
    results = checks()
    width = max(len(check.title) for check in results)
    console = Console(soft_wrap=True, highlight=False)  # paths are to be copied: no breaks inside them
    for check in results:
        console.print(f"{MARKS[check.state]}  {escape(check.title.ljust(width))}  {escape(check.value)}")
        if check.fix:
            console.print(f"{'':{width + 6}}  [bold]-> {escape(check.fix)}[/]")
    states = [check.state for check in results]
    console.print(f"\n{states.count('fail')} failed, {states.count('warn')} with a warning, {len(states)} checks")
    return 1 if "fail" in states else 0
