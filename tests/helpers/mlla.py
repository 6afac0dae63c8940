"""MLLA, the image classifier, as its authors release it: names and shapes from an encoder of ours."""

import re

import torch
from torch import nn


def classifier(encoder: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict of a classifier whose backbone is `encoder`."""
    weights = {}
    for name, tensor in encoder.state_dict().items():
        name = name.replace("stem.", "patch_embed.").replace(".expand.", ".conv.0.").replace(".reduce.", ".conv.2.")
        name = re.sub(r"downs\.(\d)", r"layers.\1.downsample", name.replace(".sample.", ".conv.1.conv."))
        weights[re.sub(r"levels\.(\d)\.", r"layers.\1.blocks.", name)] = tensor
        if name.endswith("attn.qk.weight"):
            weights[re.sub(r"levels\.(\d)\.", r"layers.\1.blocks.", name[:-9]) + "rope.rotations"] = torch.zeros(1)
    return {**weights, "head.weight": torch.zeros(1), "head.bias": torch.zeros(1)}
