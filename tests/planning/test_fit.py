"""The warning before a training that is too large for its GPU."""

from pathlib import Path

import pytest
import torch

from nnunet_ext import trainers
from nnunet_ext.planning import fit
from nnunet_ext.planning.memory import GIB
from nnunet_ext.trainers.base import ExtTrainer

from ..helpers.tiny import tiny_plans


def _trainer(name: str) -> ExtTrainer:
    plans, dataset = tiny_plans()
    made: ExtTrainer = getattr(trainers, name)(
        plans | {"continue_training": False}, "3d_fullres", 0, dataset, torch.device("cpu")
    )
    made.num_input_channels = 1
    made._set_batch_size_and_oversample()  # as nnU-Net does before a training
    return made


@pytest.mark.parametrize(
    ("name", "network"),
    [("nnUNetTrainerLKMUNet_5epochs", "lkm_unet"), ("nnUNetTrainerMetaMambaUNetNoMamba", "meta_mamba_unet_no_mamba")],
)
def test_names_the_command_that_plans_for_this_gpu(nnunet_folders: Path, name: str, network: str) -> None:
    trainer = _trainer(name)
    assert fit.warning(trainer, 16 * GIB) is None
    warning = fit.warning(trainer, GIB)
    assert warning is not None
    assert "this GPU has 1.0 GiB" in warning
    assert f"nnunet-ext plan -d Dataset999_Tiny --network {network} --gpu-memory 1" in warning


def test_an_estimate_that_fails_does_not_stop_the_training(
    nnunet_folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = _trainer("nnUNetTrainerUMambaBot")
    monkeypatch.setattr(fit, "warning", lambda *_: 1 // 0)
    trainer._warn_if_too_large(GIB)
    assert "could not be estimated: integer division" in capsys.readouterr().out
