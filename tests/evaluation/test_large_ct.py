"""The protocol amos on a CT that covers the whole body: right, and in bounded memory and time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.datasets import organs

from .masks import write
from .test_command import _files

SHAPE, SPACING = (256, 256, 300), (1.5, 1.5, 2.0)
MOST_MIB, MOST_SECONDS = 800, 60
"""Of memory and of a processor; measured were a fraction of each."""
SAME, MISSED = organs.AMOS[0], organs.AMOS[-1]


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


def test_a_whole_body(tmp_path: Path) -> None:
    reference = _body()
    prediction = np.roll(reference, 1, axis=2)
    prediction[prediction == 1] = 0
    prediction[reference == 1] = 1
    prediction[prediction == len(organs.AMOS)] = 0
    write(tmp_path / "ref" / "amos_0001.nii.gz", reference, SPACING)
    write(tmp_path / "pred" / "amos_0001.nii.gz", prediction, SPACING)
    labels = {"background": 0} | {name: value for value, name in enumerate(organs.AMOS, start=1)}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}))

    command = [str(Path(sys.executable).with_name("nnunet-ext")), "evaluate", "--protocol", "amos", "-np", "1"]
    process = subprocess.Popen([*command, str(tmp_path / "ref"), str(tmp_path / "pred")])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10) < MOST_MIB
    assert used.ru_utime + used.ru_stime < MOST_SECONDS

    rows, _ = _files(tmp_path / "pred", "amos")
    found = {(row["class"], row["metric"]): float(row["value"]) for row in rows}
    assert (found[SAME, "Dice"], found[SAME, "NSD"]) == (1, 1)
    assert (found[MISSED, "Dice"], found[MISSED, "NSD"]) == (0, 0)
    for name in organs.AMOS[1:-1]:
        assert 0.95 < found[name, "Dice"] < 1
        # Moved by 2 mm along z: flat parts at the ends are too far away, the long sides are not.
        assert 0.5 < found[name, "NSD"] < 1
