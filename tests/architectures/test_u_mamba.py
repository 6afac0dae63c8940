"""U-Mamba Bot: one causal Mamba at the bottleneck, whose output replaces the map."""

import pytest
import torch
from torch import nn

from nnunet_ext.architectures import LKMUNet, UMambaBot
from nnunet_ext.architectures.u_mamba import WholeMapMamba
from nnunet_ext.blocks import Mamba

from ..plans import unet_arguments
from .tester import ArchitectureTester


class TestUMambaBot(ArchitectureTester):
    network_class = UMambaBot


@pytest.mark.parametrize("patch", [(32, 48), (16, 24, 16)])
def test_is_the_common_skeleton_and_one_mamba(patch: tuple[int, ...]) -> None:
    arguments = unet_arguments((1,) * len(patch), patch, base_features=4)
    ours = UMambaBot(input_channels=1, num_classes=2, **arguments)
    control = LKMUNet(input_channels=1, num_classes=2, **arguments, use_pim=False, use_pam=False)
    extra = ours.state_dict().keys() - control.state_dict().keys()
    last = arguments["n_stages"] - 1
    assert all(name.startswith(f"encoder.mixers.{last}.mamba.") for name in extra)
    width = arguments["features_per_stage"][-1]
    expected = sum(p.numel() for layer in (Mamba(width), nn.LayerNorm(width)) for p in layer.parameters())
    assert sum(ours.state_dict()[name].numel() for name in extra) == expected


def test_equals_layer_norm_then_mamba_and_looks_back_only() -> None:
    layer, mamba = WholeMapMamba(4), Mamba(4)
    state = {name.removeprefix("mamba_forw."): value for name, value in layer.mamba.state_dict().items()}
    mamba.load_state_dict({name: value for name, value in state.items() if not name.startswith("norm.")})
    x = torch.randn(2, 4, 3, 5, requires_grad=True)
    y = layer(x)
    tokens = torch.layer_norm(x.flatten(2).transpose(1, 2), (4,))
    torch.testing.assert_close(y, mamba(tokens).transpose(1, 2).reshape(x.shape))
    y[0, :, 1, 2].sum().backward()
    seen = x.grad.abs().sum((0, 1)).flatten() > 0
    assert seen.tolist() == [True] * 8 + [False] * 7
