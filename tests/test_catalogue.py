"""The catalogue tells the truth: exactly the trainers that there are, and the networks' real sizes."""

import importlib
import pkgutil
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nnunet_ext import catalogue, trainers
from nnunet_ext.catalogue import ENTRIES, SHORT_VARIANTS, Entry


def defined_trainers() -> set[str]:
    found = set()
    for file in pkgutil.iter_modules(trainers.__path__):
        module = importlib.import_module(f"{trainers.__name__}.{file.name}")
        for name, value in vars(module).items():
            if name.startswith("nnUNetTrainer") and getattr(value, "__module__", None) == module.__name__:
                found.add(name)
    return found


def test_lists_exactly_the_trainers_that_there_are() -> None:
    listed = [entry.trainer for entry in ENTRIES]
    assert len(listed) == len(set(listed))
    short = {f"{name}_{ending}" for name in listed for ending in SHORT_VARIANTS}
    assert defined_trainers() == set(listed) | short


def standard_configuration(n_axes: int) -> SimpleNamespace:
    """What nnU-Net plans for the patch that `catalogue.PLAN` names."""
    features = [32, 64, 128, 256, 320, 320] if n_axes == 3 else [32, 64, 128, 256, 512, 512, 512, 512]
    n_stages = len(features)
    arguments = {
        "n_stages": n_stages,
        "features_per_stage": features,
        "conv_op": f"torch.nn.modules.conv.Conv{n_axes}d",
        "kernel_sizes": [[3] * n_axes] * n_stages,
        "strides": [[1] * n_axes] + [[2] * n_axes] * (n_stages - 1),
        "n_conv_per_stage": [2] * n_stages,
        "n_conv_per_stage_decoder": [2] * (n_stages - 1),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{n_axes}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return SimpleNamespace(
        network_arch_init_kwargs=arguments,
        network_arch_init_kwargs_req_import=["conv_op", "norm_op", "dropout_op", "nonlin"],
        patch_size=[128] * 3 if n_axes == 3 else [512] * 2,
    )


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.trainer)
def test_parameters_are_those_of_the_network(entry: Entry) -> None:
    trainer: Any = getattr(trainers, entry.trainer)
    for n_axes, expected in ((2, entry.parameters_2d), (3, entry.parameters_3d)):
        if expected is None:
            continue
        with torch.device("meta"):
            network = trainer.build_network_architecture(
                None, standard_configuration(n_axes), 1, 14, trainer.deep_supervision
            )
        assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_every_entry_says_what_it_is_and_how_far_it_is_tested() -> None:
    for entry in catalogue.ENTRIES:
        assert all((entry.network, entry.source, entry.status))
        assert entry.parameters_2d or entry.parameters_3d
