"""What the demo refuses, and how it says so."""

from collections.abc import Callable
from pathlib import Path

import pytest

from nnunet_ext import demo
from nnunet_ext.demo import commands, progress, trainers
from nnunet_ext.demo.errors import DemoError
from nnunet_ext.demo.steps import Steps
from nnunet_ext.demo.trainers import Budget

from .raw import write_raw


def _run(out: Path, data: str = "mni152", trainer: str = "nnUNetTrainer", epochs: int | None = 1) -> int:
    return demo.run(data=data, trainer=trainer, epochs=epochs, out=out, device="cpu")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"trainer": "nnUNetTrainerNobody"}, "no trainer called nnUNetTrainerNobody; `nnunet-ext list`"),
        ({"trainer": "not a name"}, "'not a name' is not the name of a trainer"),
        ({"epochs": 0}, "--epochs must be at least 1"),
        ({"data": "/nowhere"}, "/nowhere is not a folder; --data takes mni152"),
    ],
)
def test_error_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: dict, words: str) -> None:
    assert _run(tmp_path / "out", **arguments) == 1
    printed = capsys.readouterr().out
    assert f"Error: {words}" in printed or words in printed.splitlines()[-1]
    assert "Traceback" not in printed


def test_output_folder_of_somebody_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    assert _run(tmp_path) == 1
    assert "holds other files" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_data_inside_the_output_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    Steps(out)
    source = write_raw(out / "mine", cases=6)
    assert _run(out, data=str(source)) == 1
    assert "lies inside" in capsys.readouterr().out


def test_failing_command_shows_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "fails"
    script.write_text("#!/bin/sh\necho first\necho the reason\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(commands, "find", lambda _: str(script))
    lines: list[str] = []
    with pytest.raises(DemoError, match="exit code 3") as error:
        commands.run(["nnUNetv2_train"], {}, tmp_path / "logs" / "train.log", lines.append)
    assert "the reason" in str(error.value)
    assert str(tmp_path / "logs" / "train.log") in str(error.value)
    assert lines == ["first\n", "the reason\n"]


def test_step_is_skipped_when_done_and_redone_when_not(tmp_path: Path) -> None:
    made = tmp_path / "out" / "made"
    calls: list[str] = []

    def action(name: str, fail: bool = False) -> Callable[[], None]:
        def act() -> None:
            assert not made.exists()
            made.mkdir(parents=True)
            calls.append(name)
            if fail:
                raise DemoError("no")

        return act

    steps = Steps(tmp_path / "out")
    with pytest.raises(DemoError):
        steps.run("train", "a", [made], action("failed", fail=True))
    steps.run("train", "a", [made], action("first"))
    Steps(tmp_path / "out").run("train", "a", [made], action("again"))
    steps.run("train", "b", [made], action("other settings"))
    assert calls == ["failed", "first", "other settings"]


def test_short_trainers_are_found_by_nnunet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    trainers.write(tmp_path, ["nnUNetTrainerLKMUNet", "nnUNetTrainer"], Budget(3, 4, 5), mirroring=False)
    monkeypatch.setenv("nnUNet_extTrainer", trainers.search_path(tmp_path))
    found = recursive_find_trainer_class_by_name("nnUNetTrainerLKMUNet_demo")
    assert found.__mro__[1].__name__ == "nnUNetTrainerLKMUNet"
    assert recursive_find_trainer_class_by_name("nnUNetTrainer_demo").__mro__[1].__name__ == "nnUNetTrainer"


def test_plain_progress_is_one_line_per_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress.time, "monotonic", lambda: 7.0)
    with progress.Reporter().step("Plan") as step:
        step.advance(1, "not shown yet")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("] ")[1] for line in lines] == ["Plan ...", "Plan: done in 0 s"]
