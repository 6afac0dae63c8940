"""Local token mixing: who sees whom, padding, and weights that know nothing of the map."""

from typing import Any

import pytest
import torch
from torch import nn

from nnunet_ext.blocks.local_token_mixing import LocalTokenMixing, MultiScaleMLP


@pytest.mark.parametrize("options", [{}, {"perceptron": "linear"}, {"share_over_channels": False}], ids=str)
def test_a_pixel_sees_exactly_its_block_in_its_channel(options: dict[str, Any]) -> None:
    layer = LocalTokenMixing(3, (4, 2), **options)
    x = torch.randn(2, 3, 8, 6, requires_grad=True)
    layer(x)[1, 2, 5, 3].backward()
    seen = {tuple(index) for index in x.grad.nonzero().tolist()}
    assert seen == {(1, 2, row, column) for row in range(4, 8) for column in (2, 3)}


def test_equals_the_perceptron_applied_to_every_block() -> None:
    layer = LocalTokenMixing(2, (2, 3), ratio=2)
    x = torch.randn(1, 2, 4, 6)
    expected = torch.empty_like(x)
    first, _, second = layer.layers
    for channel in range(2):
        for row in (0, 2):
            for column in (0, 3):
                tokens = x[0, channel, row : row + 2, column : column + 3].flatten()
                hidden = nn.functional.gelu(first.weight @ tokens + first.bias)
                mixed = second.weight @ hidden + second.bias
                expected[0, channel, row : row + 2, column : column + 3] = mixed.reshape(2, 3)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("size", [(5, 7), (1, 1), (3, 16)])
def test_maps_that_the_blocks_do_not_divide_are_padded_with_zeros(size: tuple[int, int]) -> None:
    layer = LocalTokenMixing(2, (4, 4))
    x = torch.randn(1, 2, *size)
    padded = torch.zeros(1, 2, 8, 16)
    padded[..., : size[0], : size[1]] = x
    torch.testing.assert_close(layer(x), layer(padded)[..., : size[0], : size[1]])


def test_channels_are_shared_or_have_their_own_weights() -> None:
    shared, own = LocalTokenMixing(3, (2, 2)), LocalTokenMixing(3, (2, 2), share_over_channels=False)
    assert sum(p.numel() for p in shared.parameters()) == 2 * (16 + 4)
    assert sum(p.numel() for p in own.parameters()) == 3 * 2 * (16 + 4)
    with torch.no_grad():
        for one, three in zip(shared.parameters(), own.parameters(), strict=True):
            three.copy_(one.expand_as(three))
    x = torch.randn(2, 3, 4, 6)
    torch.testing.assert_close(own(x), shared(x))


def test_multi_scale_mlp_splits_channels_and_adds_the_map() -> None:
    module = MultiScaleMLP(7, [(2, 2), (4, 4), (8, 8)], nn.BatchNorm2d)
    assert module.widths == [3, 2, 2]
    x = torch.randn(2, 7, 8, 8)
    parts = module.norm(x).split([3, 2, 2], 1)
    mixed = torch.cat([group(part) for group, part in zip(module.groups, parts, strict=True)], 1)
    torch.testing.assert_close(module(x), x + mixed)
    assert MultiScaleMLP(2, [(2, 2), (4, 4), (8, 8)], None).widths == [1, 1]


def test_blocks_that_are_too_large_are_refused() -> None:
    with pytest.raises(ValueError, match=r"has 4096 tokens.*use blocks of at most 1024 tokens"):
        LocalTokenMixing(4, (16, 16, 16))
