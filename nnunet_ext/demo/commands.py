"""nnU-Net's own commands, started as a user would start them, in the demo's own folders."""

import os
import shutil
import site
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from nnunet_ext.demo.errors import DemoError

LINES_SHOWN = 15
"""How much of its log a failed command shows."""


def find(command: str) -> str:
    """Path of a command, that of this Python's environment if it has one; DemoError if there is none."""
    name = f"{command}.exe" if os.name == "nt" else command
    for folder in _folders_of_commands():
        if (folder / name).is_file():
            return str(folder / name)
    on_path = shutil.which(command)
    if on_path is None:
        raise DemoError(
            f"The command {command} is neither beside {sys.executable} nor on the PATH: pip install nnunet-ext."
        )
    return str(Path(on_path).absolute())


def _folders_of_commands() -> Iterator[Path]:
    """Where pip puts this environment's commands, the surest place first."""
    yield Path(sysconfig.get_path("scripts"))
    yield Path(sys.executable).parent
    # pip --target and --prefix. Without a folder it names none: "" and "-c" would be the working directory.
    if os.path.dirname(sys.argv[0]):
        yield Path(sys.argv[0]).parent.absolute()
    if site.ENABLE_USER_SITE:  # else the user's commands belong to another Python
        yield Path(sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")))


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
