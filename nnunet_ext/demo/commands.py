"""nnU-Net's own commands, started as a user would start them, in the demo's own folders."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

from nnunet_ext.demo.errors import DemoError

LINES_SHOWN = 15
"""How much of its log a failed command shows."""


def find(command: str) -> str:
    """Path of a command that was installed beside this Python; DemoError if it is not there."""
    suffix = ".exe" if os.name == "nt" else ""
    for folder in (sysconfig.get_path("scripts"), str(Path(sys.executable).parent)):
        path = Path(folder) / f"{command}{suffix}"
        if path.is_file():
            return str(path)
    raise DemoError(f"The command {command} is not installed beside {sys.executable}: pip install nnunet-ext.")


def run(
    arguments: list[str], environment: Mapping[str, str], log: Path, on_line: Callable[[str], None] = lambda _: None
) -> None:
    """Run one command; its output goes to `log`, and line by line to `on_line`.

    Raises:
        DemoError: if it fails; the message holds the last lines of its output and the log's place.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        file.write(f"$ {' '.join(arguments)}\n")
        file.flush()
        process = subprocess.Popen(
            [find(arguments[0]), *arguments[1:]],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                file.flush()
                on_line(line)
        except BaseException:
            process.terminate()
            raise
        finally:
            code = process.wait()
    if code != 0:
        last = "\n".join(log.read_text(encoding="utf-8").splitlines()[-LINES_SHOWN:])
        raise DemoError(f"{arguments[0]} failed with exit code {code}. The end of {log}:\n{last}")
