"""An evaluation that is asked to end, by Ctrl+C in a terminal or by SIGTERM."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from nnunet_ext.evaluation.case import Case
from nnunet_ext.evaluation.protocols.amos import AMOS

from .masks import body, write
from .test_command import _dataset_json

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
ROOT = Path(__file__).resolve().parents[2]
N_CASES = 12
SECONDS_PER_CASE = 1.0
FOLDER = "BEGUN"
COMMAND = """
import sys
from nnunet_ext.cli import main
from nnunet_ext.evaluation import protocols
from tests.evaluation.test_interrupted import Slow

protocols.PROTOCOLS["amos"] = Slow
if __name__ == "__main__":
    sys.exit(main())
"""


class Slow(AMOS):
    """AMOS, which notes each case that it begins and takes its time."""

    def load(self, reference: Path, prediction: Path) -> Case:
        (Path(os.environ[FOLDER]) / prediction.name).touch()
        time.sleep(SECONDS_PER_CASE)
        return super().load(reference, prediction)


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_no_further_case_is_begun_and_one_sentence_is_said(how: signal.Signals, processes: str, tmp_path: Path) -> None:
    for number in range(N_CASES):
        for name in ("ref", "pred"):
            write(tmp_path / name / f"case_{number}.nii.gz", body(0))
    _dataset_json(tmp_path)
    begun = tmp_path / "begun"
    begun.mkdir()
    before = sorted((tmp_path / "pred").iterdir())
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "evaluate", "--protocol", "amos", "ref", "pred", "-np", processes],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), FOLDER: str(begun)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(list(begun.iterdir())) < int(processes):
        assert command.poll() is None, command.stderr and command.stderr.read()
        time.sleep(0.05)
    if how == signal.SIGINT:
        os.killpg(command.pid, how)  # as a terminal does
    else:
        command.send_signal(how)
    try:
        output, errors = command.communicate(timeout=120)
    finally:
        with suppress(ProcessLookupError):  # workers, if the command left some
            os.killpg(command.pid, signal.SIGKILL)
    assert errors == "nnunet-ext evaluate: interrupted; nothing half-written was left.\n"
    assert (command.returncode, output) == (130, "")
    assert len(list(begun.iterdir())) < N_CASES
    assert sorted((tmp_path / "pred").iterdir()) == before
