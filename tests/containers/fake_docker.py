"""Stands for the command docker: notes how it is called, and does what a JSON file beside it says.

The file `behaviour.json` holds: "image", what `image inspect` prints (absent: no such image); "outputs", files by the
path below the mounted folder of outputs; the exit codes of "version", "build", "save" and "run"; "says", the last
words; "seconds", how long a run takes; "interrupts", the command in whose middle the caller gets SIGTERM.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

here = Path(__file__).parent
arguments = sys.argv[1:]
behaviour = json.loads((here / "behaviour.json").read_text())


def note(file: str, what: object) -> None:
    with (here / file).open("a") as log:
        log.write(json.dumps(what) + "\n")


def leave(command: str) -> NoReturn:
    sys.stderr.write(behaviour.get("says", "") + "\n")
    sys.exit(behaviour.get(command, 0))


def mounted(place: str) -> Path:
    volumes = [arguments[i + 1].split(":") for i, name in enumerate(arguments) if name == "--volume"]
    return next(Path(source) for source, target, *_ in volumes if target.rstrip("/") == place)


def run() -> NoReturn:
    root = "/workspace" if arguments[-1] == "sh predict.sh" else ""
    inputs, outputs = (mounted(root + place) for place in (("/inputs", "/outputs") if root else ("/input", "/output")))
    files = (path for path in inputs.rglob("*") if path.is_file())
    note("inputs.jsonl", {str(path.relative_to(inputs)): path.stat().st_mode & 0o777 for path in files})
    for name, source in behaviour.get("outputs", {}).items():
        (outputs / name).parent.mkdir(parents=True, exist_ok=True)
        (outputs / name).write_bytes(Path(source).read_bytes())
    end = time.monotonic() + behaviour.get("seconds", 0)
    while time.monotonic() < end and not (here / "removed").exists():
        time.sleep(0.05)
    leave("run")


note("calls.jsonl", arguments)
if arguments[:2] == ["image", "inspect"]:
    if "image" not in behaviour:
        sys.exit(behaviour["says"])
    sys.stdout.write(json.dumps([behaviour["image"]]))
elif arguments[:2] == ["container", "inspect"]:
    sys.stdout.write(str(os.getppid()))
elif arguments[:2] == ["container", "rm"]:
    (here / "removed").touch()
elif arguments[:2] == ["container", "run"]:
    run()
else:
    if arguments[0] == "save":
        sys.stdout.buffer.write(b"an image" * 1000)
        sys.stdout.flush()
    if arguments[0] == behaviour.get("interrupts"):
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(1)
    leave(arguments[0])
