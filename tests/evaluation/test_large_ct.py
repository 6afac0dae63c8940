"""The protocol amos on a CT that covers the whole body: right, and in bounded memory and time."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.datasets import organs

from .masks import write
from .test_command import _files

SHAPE, SPACING = (256, 256, 300), (1.5, 1.5, 2.0)
MOST_MIB, MOST_SECONDS = 500, 30
"""Of memory and of a processor's time."""
SAME, MISSED = organs.AMOS[0], organs.AMOS[-1]

# Not by getrusage, whose peak of memory counts the process that this one was forked from.
MEASURED = """
import os
import re
import sys
from pathlib import Path
from nnunet_ext.cli import main

code = main(sys.argv[1:])
status = Path("/proc/self/status")
kib = int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]) if status.is_file() else 0
print(sum(os.times()[:4]), kib / 1024)
sys.exit(code)
"""
Run = Callable[..., CompletedProcess[str]]


def _body() -> NDArray[np.uint8]:
    """An ellipsoid for each of the 15 organs, of the extent of a large kidney to a liver."""
    values = np.zeros(SHAPE, np.uint8)
    for number in range(len(organs.AMOS)):
        column, row = divmod(number, 3)
        centre, radii = np.array([30 + 48 * column, 45 + 82 * row, 150]), np.array([22, 36, 60 + 4 * number])
        box = tuple(slice(c - r, c + r + 1) for c, r in zip(centre, radii, strict=True))
        offsets = np.indices(values[box].shape) - radii[:, None, None, None]
        values[box][((offsets / radii[:, None, None, None]) ** 2).sum(axis=0) <= 1] = number + 1
    return values


def test_a_whole_body(tmp_path: Path, run: Run) -> None:
    reference = _body()
    prediction = np.roll(reference, 1, axis=2)
    prediction[prediction == 1] = 0
    prediction[reference == 1] = 1
    prediction[prediction == len(organs.AMOS)] = 0
    write(tmp_path / "ref" / "amos_0001.nii.gz", reference, SPACING)
    write(tmp_path / "pred" / "amos_0001.nii.gz", prediction, SPACING)
    labels = {"background": 0} | {name: value for value, name in enumerate(organs.AMOS, start=1)}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}))

    folders = [str(tmp_path / "ref"), str(tmp_path / "pred")]
    done = run(sys.executable, "-c", MEASURED, "evaluate", "--protocol", "amos", *folders, "-np", "1")
    assert done.returncode == 0, done.stderr
    seconds, mib = map(float, done.stdout.splitlines()[-1].split())
    assert seconds < MOST_SECONDS
    assert mib < MOST_MIB

    rows, _ = _files(tmp_path / "pred", "amos")
    found = {(row["class"], row["metric"]): float(row["value"]) for row in rows}
    assert (found[SAME, "Dice"], found[SAME, "NSD"]) == (1, 1)
    assert (found[MISSED, "Dice"], found[MISSED, "NSD"]) == (0, 0)
    for name in organs.AMOS[1:-1]:
        assert 0.95 < found[name, "Dice"] < 1
        # Moved by 2 mm along z: flat parts at the ends are too far away, the long sides are not.
        assert 0.5 < found[name, "NSD"] < 1
