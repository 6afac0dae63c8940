"""The hook that every start of Python runs, and the module that nnU-Net's look-up meets."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_ext import _startup

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, ["ours"]),
        ("", ["ours"]),
        ("/mine", ["/mine", "ours"]),
        (os.pathsep.join(["/b", "", "/a"]), ["/b", "/a", "ours"]),
        (os.pathsep.join([_startup.FOLDER, "/mine"]), ["ours", "/mine"]),
    ],
)
def test_our_folder_comes_last_and_once(before: str | None, after: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(_startup.VARIABLE)
    if before is not None:
        monkeypatch.setenv(_startup.VARIABLE, before)
    expected = [_startup.FOLDER if entry == "ours" else entry for entry in after]
    for _ in range(2):
        _startup.register()
        assert os.environ[_startup.VARIABLE].split(os.pathsep) == expected


@pytest.mark.parametrize(("value", "registers"), [("1", False), ("true", False), ("0", True), ("", True)])
def test_opting_out(value: str, registers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_startup.VARIABLE, "/mine")
    monkeypatch.setenv(_startup.OPT_OUT, value)
    _startup.register()
    assert (os.environ[_startup.VARIABLE] != "/mine") == registers


def test_our_folder_holds_one_module_that_knows_our_trainers_only() -> None:
    files = [path for path in Path(_startup.FOLDER).iterdir() if path.name != "__pycache__"]
    assert [path.name for path in files] == ["nnunet_ext_trainers.py"]
    getattribute = runpy.run_path(str(files[0]))["__getattr__"]
    assert getattribute("nnUNetTrainerLKMUNet").__module__ == "nnunet_ext.trainers.lkm_unet"
    for foreign in ("nnUNetTrainerNobodyHas", "nnUNetTrainerLKMUNet_3epochs", "__path__", "MyTrainer"):
        with pytest.raises(AttributeError):
            getattribute(foreign)


def test_a_checkout_on_the_path_is_enough_for_imports() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "import nnunet_ext.trainers\nprint(nnunet_ext.trainers.__file__)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd="/")
    assert done.stdout.strip() == str(REPOSITORY / "trainers" / "__init__.py"), done.stderr
