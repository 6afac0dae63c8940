"""A process that is killed while it scores a case."""

import os
import signal
from pathlib import Path

import pytest

from nnunet_ext.cli import main
from nnunet_ext.evaluation import protocols
from nnunet_ext.evaluation.case import Case
from nnunet_ext.evaluation.protocols.amos import AMOS

from .masks import body, write
from .test_command import _dataset_json, _files

CASES = [f"case_{number}" for number in range(6)]
DEADLY = CASES[2]
FLAG = "KILL_ONLY_ONCE"


class Deadly(AMOS):
    """AMOS, of which one case kills its process, as a system without memory does; by FLAG only the first time."""

    def load(self, reference: Path, prediction: Path) -> Case:
        flag = Path(os.environ[FLAG]) if FLAG in os.environ else None
        if prediction.name.startswith(DEADLY) and not (flag and flag.exists()):
            if flag:
                flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().load(reference, prediction)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for case in CASES:
        write(tmp_path / "ref" / f"{case}.nii.gz", body(0))
        write(tmp_path / "pred" / f"{case}.nii.gz", body(1))
    _dataset_json(tmp_path)
    monkeypatch.setitem(protocols.PROTOCOLS, "amos", Deadly)
    return [str(tmp_path / name) for name in ("ref", "pred")]


def test_a_case_that_kills_its_process_is_named_and_the_others_are_scored(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--protocol", "amos", *folders, "-np", "2"]) == 1
    rows, summary = _files(tmp_path / "pred", "amos")
    assert {row["case"] for row in rows} == {*CASES} - {DEADLY}
    assert summary["failed_cases"].keys() == {DEADLY}
    assert f"not scored: {DEADLY}: its process was killed" in capsys.readouterr().out
    assert not list((tmp_path / "pred").glob(".*"))


def test_cases_beside_a_killed_process_are_scored_again(
    folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FLAG, str(tmp_path / "killed"))
    assert main(["evaluate", "--protocol", "amos", *folders, "-np", "2"]) == 0
    assert (tmp_path / "killed").exists()
    rows, summary = _files(tmp_path / "pred", "amos")
    assert [row["case"] for row in rows if (row["class"], row["metric"]) == ("Anterior", "Dice")] == CASES
    assert summary["complete"]
