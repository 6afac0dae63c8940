"""Linear attention and its rotary embedding, against their definitions."""

import math

import pytest
import torch
from torch import nn

from nnunet_ext.blocks.channels_last import unfold_voxels
from nnunet_ext.blocks.linear_attention import LinearAttention, linear_attention, rotate


def _turned(channels: torch.Tensor, position: tuple[int, ...]) -> list[float]:
    """The definition, pair by pair, for one token."""
    turned = channels.tolist()
    pairs = len(turned) // (2 * len(position))
    for axis, place in enumerate(position):
        for pair in range(pairs):
            angle = place * 10000 ** (-pair / pairs)
            first = 2 * (axis * pairs + pair)
            a, b = turned[first : first + 2]
            turned[first] = a * math.cos(angle) - b * math.sin(angle)
            turned[first + 1] = b * math.cos(angle) + a * math.sin(angle)
    return turned


@pytest.mark.parametrize(("size", "channels"), [((3, 5), 16), ((2, 3, 4), 12), ((2, 3, 4), 16), ((2, 2, 2), 4)])
def test_rotation_is_its_definition(size: tuple[int, ...], channels: int) -> None:
    x = torch.randn(2, *size, channels, dtype=torch.float64)
    turned = rotate(x)
    for index in torch.ones(size).nonzero().tolist():
        expected = torch.tensor(_turned(x[(1, *index)], tuple(index)), dtype=torch.float64)
        torch.testing.assert_close(turned[(1, *index)], expected)


def test_rotated_products_depend_on_the_distance_only() -> None:
    q, k = (rotate(torch.randn(12, dtype=torch.float64).expand(1, 5, 6, 7, 12))[0] for _ in range(2))
    torch.testing.assert_close((q[0, 1, 2] * k[2, 2, 1]).sum(), (q[2, 4, 5] * k[4, 5, 4]).sum())


@pytest.mark.parametrize("size", [(3, 4), (2, 3, 2)])
def test_attention_is_the_double_sum_of_its_definition(size: tuple[int, ...]) -> None:
    q, k, v = (torch.randn(1, *size, 12, dtype=torch.float64) for _ in range(3))
    features = [nn.functional.elu(x) + 1 for x in (q, k)]
    turned = [rotate(x)[0].reshape(-1, 12) for x in features]
    plain = [x[0].reshape(-1, 12) for x in features]
    values = v[0].reshape(-1, 12)
    expected = torch.zeros_like(values)
    for head in (slice(0, 6), slice(6, 12)):
        for i in range(len(values)):
            weights = [turned[0][i, head] @ turned[1][j, head] for j in range(len(values))]
            total = sum(plain[0][i, head] @ plain[1][j, head] for j in range(len(values))) / len(values) + 1e-6
            expected[i, head] = sum(w * values[j, head] for j, w in enumerate(weights)) / len(values) / total
    torch.testing.assert_close(linear_attention(q, k, v, 2)[0].reshape(-1, 12), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_core_is_computed_in_float32(dtype: torch.dtype) -> None:
    """Features that half precision rounds to zero, or to infinity, do no harm."""
    attention = LinearAttention(16, 2, nn.Conv2d)
    with torch.no_grad():
        attention.qk.bias.copy_(torch.cat((torch.full((16,), -9.0), torch.full((16,), 300.0))))
    x = 100 * torch.randn(1, 8, 8, 16)
    with torch.autocast("cpu", dtype=dtype):
        output = attention(x.to(dtype))
    assert output.dtype == dtype
    assert output.isfinite().all()
    double = attention.double()(x.double())
    assert (output.double() - double).norm() / double.norm() < 0.15


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(ValueError, match="3 attention heads do not divide 16 channels: change num_heads"):
        LinearAttention(16, 3, nn.Conv2d)


def test_unfolding_puts_a_voxels_block_where_the_voxel_was() -> None:
    x = torch.arange(2 * 3 * 12.0).reshape(1, 2, 3, 12)
    unfolded = unfold_voxels(x, (3, 2))  # (1, 6, 6, 2)
    for row in range(6):
        for column in range(6):
            first = 2 * (2 * (row % 3) + column % 2)
            assert torch.equal(unfolded[0, row, column], x[0, row // 3, column // 2, first : first + 2])
