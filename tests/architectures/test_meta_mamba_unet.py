"""Meta Mamba UNet: its block, its scan orders, and every option, in 2D and 3D."""

from typing import Any

import pytest
import torch

from nnunet_ext.architectures import MetaMambaUNet
from nnunet_ext.blocks.meta_block import MetaBlock
from nnunet_ext.blocks.meta_ssm import MetaSSM, SSMOptions, scan_orders

from ..plans import unet_arguments
from .tester import ArchitectureTester


class TestMetaMambaUNet(ArchitectureTester):
    network_class = MetaMambaUNet


class TestMetaMambaUNetNoMamba(ArchitectureTester):
    network_class = MetaMambaUNet
    options = {"meta_block": "cnn"}
    every = 3


def small(n_axes: int = 2, **options: Any) -> MetaMambaUNet:
    patch = (16, 24) if n_axes == 2 else (8, 16, 16)
    arguments = unet_arguments((1,) * n_axes, patch, base_features=4, max_features=8)
    return MetaMambaUNet(input_channels=1, num_classes=2, **{**arguments, **options})


def blocks_with_mamba(network: MetaMambaUNet) -> list[str]:
    return [
        name for name, module in network.named_modules() if isinstance(module, MetaBlock) and module.ssm is not None
    ]


OPTIONS = [
    *({"meta_block": value} for value in ("cnn", "umamba", "ssm", "ssm_in_res")),
    *({"ssm_where": value} for value in ("bottleneck", "decoder", "all")),
    {"ssm_full_res": True},
    *({"scan": value} for value in ("uni", "tri", "tri_bi")),
    {"scan_fastest": "H"},
    *({"scan_merge": value} for value in ("mean", "concat_proj")),
    *({"share_directions": value} for value in ("all", "none")),
    {"ssm": "mamba2"},
    {"d_state": 4, "d_conv": 3, "expand": 1},
    *({"norm_before_ssm": value} for value in ("instance", "none")),
    {"post_act": False},
    {"skip_proj": "avgpool"},
]


@pytest.mark.parametrize("n_axes", [2, 3])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_differs_and_trains_all_of_its_parameters(n_axes: int, options: dict[str, Any]) -> None:
    network = small(n_axes, **options, deep_supervision=True)
    size = (16, 24) if n_axes == 2 else (8, 16, 16)
    image = torch.randn(2, 1, *size)
    outputs = network(image)
    sum(output.square().mean() for output in outputs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert outputs[0].shape == (2, 2, *size)
    default = small(n_axes, deep_supervision=True)
    if network.state_dict().keys() == default.state_dict().keys():
        shapes = [{name: value.shape for name, value in n.state_dict().items()} for n in (network, default)]
        if shapes[0] == shapes[1]:
            default.load_state_dict(network.state_dict())
            assert not torch.allclose(default(image)[0], outputs[0], rtol=1e-3, atol=1e-4)


def test_mamba_stands_where_it_is_asked_for() -> None:
    inside = {
        "encoder+bottleneck": ["encoder.stages.1.0", "encoder.stages.2.0"],
        "bottleneck": ["encoder.stages.2.0"],
        "decoder": ["decoder.stages.0.0"],
        "all": ["encoder.stages.1.0", "encoder.stages.2.0", "decoder.stages.0.0"],
    }
    for where, names in inside.items():
        assert blocks_with_mamba(small(ssm_where=where)) == names
    everywhere = blocks_with_mamba(small(ssm_where="all", ssm_full_res=True))
    assert everywhere == [*(f"encoder.stages.{s}.0" for s in range(3)), *(f"decoder.stages.{s}.0" for s in range(2))]


def test_two_convolutions_are_one_block_and_the_last_block_has_mamba() -> None:
    assert [len(stage) for stage in small(n_conv_per_stage=[1, 2, 5]).encoder.stages] == [1, 1, 3]
    residual = small(n_conv_per_stage=None, n_blocks_per_stage=[1, 2, 3], n_conv_per_stage_decoder=1)
    assert [len(stage) for stage in residual.encoder.stages] == [1, 2, 3]
    assert blocks_with_mamba(residual) == ["encoder.stages.1.1", "encoder.stages.2.2"]


def test_the_block_is_what_the_paper_says() -> None:
    block = small().encoder.stages[1][0]
    x = torch.randn(2, 4, 16, 24)
    expected = block.nonlin(block.skip(x) + block.ssm(block.convs[1](block.convs[0](x))))
    torch.testing.assert_close(block(x), expected)
    assert block.skip[0].conv.kernel_size == (1, 1)
    assert block.skip[0].conv.stride == (2, 2)


def test_scan_orders() -> None:
    assert scan_orders(SSMOptions(), 3) == [(2, False), (2, True)]
    assert scan_orders(SSMOptions("uni", "H"), 3) == [(1, False)]
    assert scan_orders(SSMOptions("tri", "D"), 3) == [(0, False), (2, False), (1, False)]
    assert len(scan_orders(SSMOptions("tri_bi"), 3)) == 6
    assert len(scan_orders(SSMOptions("tri_bi"), 2)) == 4


@pytest.mark.parametrize(("fastest", "axis"), [("W", 2), ("H", 1), ("D", 0)])
def test_a_forward_scan_sees_what_comes_before_in_its_order(fastest: Any, axis: int) -> None:
    layer = MetaSSM(3, 3, SSMOptions("uni", fastest))
    size, position = (3, 4, 5), (1, 2, 3)
    x = torch.randn(1, 3, *size, requires_grad=True)
    layer(x)[(0, slice(None), *position)].sum().backward()
    seen = x.grad.abs().sum((0, 1)) > 0
    order = [a for a in range(3) if a != axis] + [axis]
    ranks = torch.arange(60).reshape([size[a] for a in order]).permute([order.index(a) for a in range(3)])
    assert torch.equal(seen, ranks <= ranks[position])


@pytest.mark.parametrize("model", ["mamba1", "mamba2"])
def test_shared_models_read_both_ways_commute_with_flips(model: Any) -> None:
    layer = MetaSSM(4, 2, SSMOptions(share_directions="all", ssm=model))
    x = torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(layer(x.flip(2, 3)), layer(x).flip(2, 3), rtol=1e-4, atol=1e-6)
    different = MetaSSM(4, 2, SSMOptions(ssm=model))
    assert not torch.allclose(different(x.flip(2, 3)), different(x).flip(2, 3), rtol=1e-2, atol=1e-4)


def test_mamba2_equals_its_recurrence() -> None:
    layer = MetaSSM(4, 2, SSMOptions("uni", ssm="mamba2", d_state=3, norm_before_ssm="none"))
    model = layer.models[0]
    x = torch.randn(1, 4, 2, 3, dtype=torch.float64)
    projected = layer.in_projs[0].double()(x.flatten(2).transpose(1, 2)).transpose(1, 2)
    layer.double()
    z, xbc, dt = projected.split([8, 14, model.n_heads], 1)
    xbc = torch.nn.functional.silu(model.conv1d(xbc)[..., :6])
    u, B, C = xbc.split([8, 3, 3], 1)
    dt = torch.nn.functional.softplus(dt + model.dt_bias[:, None]).repeat_interleave(model.head_dim, 1)
    decay = -model.A_log.exp().repeat_interleave(model.head_dim)
    state = torch.zeros(1, 8, 3, dtype=torch.float64)
    columns = []
    for t in range(6):
        step = dt[..., t, None]
        state = torch.exp(step * decay[:, None]) * state + step * u[..., t, None] * B[:, None, :, t]
        columns.append((state * C[:, None, :, t]).sum(-1) + model.D.repeat_interleave(model.head_dim) * u[..., t])
    y = torch.stack(columns, -1) * torch.nn.functional.silu(z)
    y = torch.nn.functional.rms_norm(y.transpose(1, 2), (8,), model.norm_weight, 1e-5)
    expected = layer.out_proj(y).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"scan": "uni"}, 1.95), ({}, 2.15), ({"share_directions": "none", "scan_merge": "concat_proj"}, 3.90)],
    ids=["uni", "default", "two-mambas"],
)
def test_millions_of_parameters_of_mamba_in_every_encoder_stage(options: dict[str, Any], expected: float) -> None:
    arguments = unet_arguments((1, 1, 1), (128, 128, 128))

    def millions(**chosen: Any) -> float:
        with torch.device("meta"):
            network = MetaMambaUNet(input_channels=1, num_classes=16, **arguments, **chosen)
        return sum(p.numel() for p in network.parameters()) / 1e6

    assert round(millions(**options, ssm_full_res=True) - millions(meta_block="cnn"), 2) == expected


def test_recompute_changes_nothing_but_memory() -> None:
    kept, recomputed = small(recompute=False), small(recompute=True)
    recomputed.load_state_dict(kept.state_dict())
    image = torch.randn(2, 1, 16, 24)
    for network in (kept, recomputed):
        network(image).square().sum().backward()
    for (name, ours), theirs in zip(recomputed.named_parameters(), kept.parameters(), strict=True):
        if ours.requires_grad:
            torch.testing.assert_close(ours.grad, theirs.grad, msg=name)
    assert recomputed.compute_conv_feature_map_size((16, 24)) < kept.compute_conv_feature_map_size((16, 24))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"meta_block": "mamba"}, "meta_block is 'mamba', expected one of 'conv_conv_ssm_in_res', 'cnn'"),
        ({"ssm_where": "skip"}, "ssm_where is 'skip', expected one of"),
        ({"skip_proj": "pool"}, "skip_proj is 'pool', expected one of"),
        ({"scan": "four"}, "scan is 'four', expected one of 'uni', 'bi'"),
        ({"scan_fastest": "D"}, "scan_fastest is 'D', but a 2D map has the axes"),
        ({"d_state": 0}, "d_state is 0, expected at least 1"),
        ({"post_act": False, "norm_op": None}, "post_act=False needs a normalisation"),
    ],
)
def test_wrong_options_get_one_clear_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_a_plan_without_room_for_mamba_is_refused() -> None:
    arguments = unet_arguments((1, 1), (8, 8), base_features=2)
    with pytest.raises(ValueError, match="this plan has only 2 stages and none of them may have Mamba"):
        MetaMambaUNet(input_channels=1, num_classes=2, **arguments, ssm_where="decoder")
