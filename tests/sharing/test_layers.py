"""Which names in plans nnU-Net may import."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_plans

from nnunet_ext.sharing.layers import check_layers

Run = Callable[..., subprocess.CompletedProcess[str]]


def _plans(network: str | None = None, **layers: Any) -> dict[str, Any]:
    plans, _ = tiny_plans()
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["arch_kwargs"] |= layers
    architecture["network_class_name"] = network or architecture["network_class_name"]
    return plans


@pytest.mark.parametrize(
    "plans",
    [
        _plans(),
        _plans("nnunet_ext.architectures.LKMUNet"),
        _plans("an.older.place.of.PlainConvUNet"),
        _plans("not.installed.Network"),  # nnU-Net finds nothing to call
        _plans(nonlin="torch.nn.GELU", dropout_op="torch.nn.modules.dropout.Dropout3d"),
        {"configurations": {"old": {"UNet_class_name": "PlainConvUNet"}}},
    ],
)
def test_networks_and_layers_pass(plans: dict[str, Any]) -> None:
    check_layers(plans)


@pytest.mark.parametrize(
    ("plans", "told"),
    [
        (_plans(nonlin="os.system"), "'os.system' as nonlin of 3d_fullres"),
        (_plans(conv_op=".os.system"), "'.os.system' as conv_op"),
        (_plans(norm_op="exec"), "'exec' as norm_op"),
        (_plans(nonlin="torch.nn.parallel.distributed.os.mkdir"), "as nonlin"),
        (_plans(nonlin="torch.nn.functional.relu"), "as nonlin"),
        (_plans(nonlin="torch.nn.Parameter"), "as nonlin"),
        (_plans(nonlin="not.installed.Layer"), "as nonlin"),  # nnU-Net would leave it out
        (_plans(nonlin=["os.system"]), "as nonlin"),
        (_plans("subprocess.Popen"), "'subprocess.Popen' as network_class_name"),
        (_plans("not.there.convert_conv_op_to_dim"), "as network_class_name"),
        ({"configurations": {"2d": {"architecture": "os.system"}}}, "no architecture for 2d"),
    ],
)
def test_anything_else_is_refused(plans: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_layers(plans)


def test_a_layer_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_layers.py").write_text("from torch import nn\nimport os\nclass Mine(nn.ReLU): pass\n")
    (tmp_path / "my_broken_layers.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    check_layers(_plans(nonlin="my_layers.Mine"))
    for name in ("my_layers.os.system", "my_broken_layers.Mine"):
        with pytest.raises(ValueError, match=f"'{name}' as nonlin"):
            check_layers(_plans(nonlin=name))


def test_nothing_of_the_standard_library_is_imported(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="as nonlin"):
        check_layers(_plans(nonlin="this.s"))
    assert capsys.readouterr().out == ""


def test_the_look_up_of_a_trainer_says_nothing(run: Run) -> None:
    """In a process of its own: nnU-Net imports all its trainers, with timm, only once."""
    code = "from nnunet_ext.sharing.model import find_trainer; print(find_trainer('nnUNetTrainerUMambaBot').__name__)"
    done = run(sys.executable, "-c", f"from nnunet_ext import _startup; _startup.register(); {code}")
    assert (done.stdout, done.stderr) == ("nnUNetTrainerUMambaBot\n", "")
