"""The plan that the pages are for, `nnunet_ext.catalogue.PLAN`, and the networks that our trainers build from it."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

import nnunet_ext.trainers as trainers
from tests.plans import unet_arguments

PATCH = {2: (512, 512), 3: (128, 128, 128)}
IMAGE_CHANNELS = 1
CLASSES = 14


def planned(trainer: str, n_axes: int) -> nn.Module:
    """The network that a trainer builds from the plan, in eval mode; its parameters take no memory."""
    built_by: Any = getattr(trainers, trainer)
    configuration = SimpleNamespace(
        network_arch_init_kwargs=unet_arguments((1.0,) * n_axes, PATCH[n_axes]),
        network_arch_init_kwargs_req_import=[],
        patch_size=PATCH[n_axes],
    )
    with torch.device("meta"):
        network: nn.Module = built_by.build_network_architecture(
            None, configuration, IMAGE_CHANNELS, CLASSES, built_by.deep_supervision
        )
    return network.eval()
