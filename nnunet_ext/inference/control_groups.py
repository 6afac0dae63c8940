"""Linux's control groups, by which containers and batch systems limit what a process may take."""

from collections.abc import Iterator, Sequence
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OF_THIS_PROCESS = Path("/proc/self/cgroup")


def groups(lines: Sequence[str]) -> dict[str, Path]:
    """Folders of the control groups in the lines of a /proc/PID/cgroup, by controller.

    Version 2 has one folder for all of them, which stands under "memory" and "cpuacct", the names of version 1.
    """
    found: dict[str, Path] = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = GROUPS / controller / path.lstrip("/")
    if "memory" not in found and "" in found:
        found["memory"] = found["cpuacct"] = found[""]
    return found


def memory_groups() -> Iterator[Path]:
    """The folders of all groups that limit this process's memory, from its own up to the root.

    Some do not exist: a container that sees only its own groups may be told names that hold outside.
    """
    try:
        lines = OF_THIS_PROCESS.read_text().splitlines()
    except OSError:  # another system, or a sandbox
        lines = []
    group = groups(lines).get("memory", GROUPS / "memory")
    yield group
    for parent in group.parents:
        if not parent.is_relative_to(GROUPS):
            return
        yield parent
