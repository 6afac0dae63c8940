"""Mixed-MLP MM-UNet: the preset's size, every option in 2D and 3D, and weights that know nothing of the patch."""

from typing import Any

import pytest
import torch
from torch import nn

from nnunet_ext.architectures import MixedMLPUNet
from nnunet_ext.blocks.local_token_mixing import LocalTokenMixing, MultiScaleMLP

from ..plans import unet_arguments
from .tester import ArchitectureTester


class TestMixedMLPUNet(ArchitectureTester):
    network_class = MixedMLPUNet


class TestMixedMLPUNetOfThePreset(ArchitectureTester):
    """The preset's choices on the topology of a plan, with the heads that deep supervision needs."""

    test_compiles_without_graph_breaks = None  # the same modules as above

    def make(self, **arguments: Any) -> MixedMLPUNet:
        arguments["norm_op"] = nn.BatchNorm2d if arguments["conv_op"] is nn.Conv2d else nn.BatchNorm3d
        for name in ("nonlin", "nonlin_kwargs", "conv_bias"):
            del arguments[name]
        if "n_blocks_per_stage" in arguments:
            arguments["n_conv_per_stage"] = None
        return MixedMLPUNet.from_preset("paper", auxiliary_heads=True, **arguments)


PATCH = {2: (32, 48), 3: (16, 16, 24)}


def small(n_axes: int = 2, **options: Any) -> MixedMLPUNet:
    arguments = unet_arguments((1,) * n_axes, PATCH[n_axes], base_features=4, max_features=8)
    return MixedMLPUNet(input_channels=1, num_classes=2, **{**arguments, **options})


def where(network: MixedMLPUNet) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, MultiScaleMLP)]


@pytest.mark.parametrize(("channels", "classes", "expected"), [(3, 3, 12_980_923), (1, 2, 12_979_706)])
def test_the_preset_has_the_published_number_of_parameters(channels: int, classes: int, expected: int) -> None:
    network = MixedMLPUNet.from_preset("paper", input_channels=channels, num_classes=classes).eval()
    assert sum(p.numel() for p in network.parameters()) == expected
    with torch.no_grad():
        assert network(torch.zeros(1, channels, 64, 64)).shape == (1, classes, 64, 64)
    blocks = [[group.block for group in mmlp.groups] for mmlp in network.modules() if isinstance(mmlp, MultiScaleMLP)]
    assert blocks == [[(2, 2), (4, 4), (8, 8), (16, 16)]] * 7


def test_the_preset_takes_other_options_and_trains_all_of_its_parameters() -> None:
    small_one = MixedMLPUNet.from_preset("paper", 3, 3, features_per_stage=(4, 4, 4, 8, 8))
    small_one(torch.randn(2, 3, 32, 32)).square().mean().backward()
    assert all(p.grad is not None for p in small_one.parameters())
    plain = {"placement": "bottleneck", "block_sizes": (2,)}
    with torch.device("meta"):
        network = MixedMLPUNet.from_preset("paper", 3, 3, **plain)
    assert where(network) == ["encoder.stages.4.mlp"]


OPTIONS: list[dict[str, Any]] = [
    *({"placement": value} for value in ("encoder", "skip", "decoder", "bottleneck")),
    {"mode": "append"},
    {"block_sizes": (3,)},
    {"block_counts": (1, 2), "patch_size": "PATCH"},
    {"token_mixing": "global", "patch_size": "PATCH"},
    {"ltm": "linear"},
    {"ratio": 0.5},
    {"share_over_channels": False},
    *({"pre_norm": value} for value in ("batch", "layer")),
    {"residual": False},
    {"fuse_1x1": True},
    {"downsampling": "strided_conv"},
]


@pytest.mark.parametrize("n_axes", [2, 3])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_differs_and_trains_all_of_its_parameters(n_axes: int, options: dict[str, Any]) -> None:
    size = PATCH[n_axes]
    chosen = {name: size if value == "PATCH" else value for name, value in options.items()}
    network = small(n_axes, **chosen, deep_supervision=True)
    network.check_patch_size(size)
    outputs = network(torch.randn(2, 1, *size))
    assert outputs[0].shape == (2, 2, *size)
    sum(output.square().mean() for output in outputs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    if options != {"residual": False}:  # which changes no module; its outputs are compared below
        assert _described(network) != _described(small(n_axes, deep_supervision=True))


@pytest.mark.parametrize("n_axes", [2, 3])
def test_the_residual_connection_can_be_left_out(n_axes: int) -> None:
    with_it, without = small(n_axes).eval(), small(n_axes, residual=False).eval()
    without.load_state_dict(with_it.state_dict())
    image = torch.randn(1, 1, *PATCH[n_axes])
    with torch.no_grad():
        assert not torch.allclose(with_it(image), without(image))


def _described(network: MixedMLPUNet) -> tuple[str, list[torch.Size]]:
    return str(network), [value.shape for value in network.state_dict().values()]


def test_mmlps_stand_where_they_are_asked_for() -> None:
    last = len(small().strides) - 1
    encoder = [f"encoder.stages.{stage}.mlp" for stage in range(1, last + 1)]
    decoder = [f"decoder.stages.{level}.mlp" for level in range(last - 1)]
    skips = [f"decoder.stages.{level}.skip_mlp" for level in range(last - 1)]
    expected = {
        "utnet": encoder + decoder,
        "encoder": encoder,
        "decoder": decoder,
        "bottleneck": encoder[-1:],
        "skip": skips,
    }
    for placement, names in expected.items():
        network = small(placement=placement)
        assert where(network) == names
        for name in (*encoder, *decoder):
            stage = network.get_submodule(name.removesuffix(".mlp"))
            assert len(stage.convs) == (1 if name in names else 2), name


def test_at_least_one_convolution_stays_and_residual_plans_count_blocks() -> None:
    assert [len(stage.convs) for stage in small(n_conv_per_stage=1).encoder.stages] == [1] * len(small().strides)
    residual = small(n_conv_per_stage=None, n_blocks_per_stage=2)
    assert [len(stage.convs) for stage in residual.encoder.stages] == [4, *[3] * (len(residual.strides) - 1)]


def test_only_the_skip_is_mixed_on_a_skip_connection() -> None:
    stage = small(placement="skip").decoder.stages[0]
    x = torch.randn(1, 2 * stage.output_channels, 8, 12)
    upsampled, skip = x.chunk(2, 1)
    expected = stage.convs(torch.cat((upsampled, stage.skip_mlp(skip)), 1))
    torch.testing.assert_close(stage(x), expected)


def test_blocks_are_flat_where_the_kernels_are() -> None:
    arguments = unet_arguments((4, 1, 1), (8, 64, 64), base_features=4, max_features=8)
    network = MixedMLPUNet(input_channels=1, num_classes=2, **arguments)
    kernels = arguments["kernel_sizes"]
    assert 1 in kernels[1]
    for stage, kernel in list(zip(network.encoder.stages, kernels, strict=True))[1:]:
        blocks = [group.block for group in stage.mlp.groups]
        assert blocks == [tuple(side if k > 1 else 1 for k in kernel) for side in (2, 4, 8)]


def test_global_mixing_reaches_the_whole_map_and_leaves_large_maps_alone() -> None:
    network = small(token_mixing="global", patch_size=(128, 128), strides=[1, 2, 2, 2])
    assert where(network) == ["encoder.stages.2.mlp", "encoder.stages.3.mlp", "decoder.stages.0.mlp"]
    assert [len(stage.convs) for stage in network.encoder.stages] == [2, 2, 1, 1]
    layer = network.encoder.stages[2].mlp.groups[0]
    assert isinstance(layer, LocalTokenMixing)
    assert layer.block == (32, 32)
    x = torch.randn(1, 1, 32, 32, requires_grad=True)
    layer.layers(x.flatten(2))[0, 0, 5].backward()
    assert (x.grad != 0).all()
    network.check_patch_size((128, 128))
    with pytest.raises(ValueError, match=r"blocks were made for \(128, 128\): give the network patch_size as in"):
        network.check_patch_size((64, 64))


def test_weights_do_not_depend_on_the_patch_size_only_on_the_plan() -> None:
    network = small().eval()
    with torch.no_grad():
        for size in ((16, 16), (40, 48), (104, 8)):
            assert network(torch.randn(1, 1, *size)).shape == (1, 2, *size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"placement": "everywhere"}, "placement is 'everywhere', expected one of 'utnet', 'encoder'"),
        ({"mode": "prepend"}, "mode is 'prepend', expected one of"),
        ({"token_mixing": "both"}, "token_mixing is 'both', expected one of"),
        ({"ltm": "conv"}, "ltm is 'conv', expected one of"),
        ({"pre_norm": "none"}, "pre_norm is 'none', expected one of"),
        ({"downsampling": "avg"}, "downsampling is 'avg', expected one of"),
        ({"block_sizes": (0, 2)}, r"block_sizes is \(0, 2\), expected one positive number per group"),
        ({"block_sizes": (64,)}, "use blocks of at most 1024 tokens"),
        ({"block_counts": (1, 2)}, "blocks per side of the map need patch_size"),
        ({"token_mixing": "global"}, "blocks per side of the map need patch_size"),
        ({"token_mixing": "global", "block_sizes": (2,)}, "has one block: leave out block_sizes"),
        ({"token_mixing": "global", "patch_size": (2048, 2048)}, "none of this plan's 4 stages may have an MMLP"),
        ({"auxiliary_heads": False, "deep_supervision": True}, "this network was built without its auxiliary heads"),
    ],
)
def test_wrong_options_get_one_clear_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_unknown_presets_are_refused() -> None:
    with pytest.raises(ValueError, match="preset is 'best', expected one of 'paper'"):
        MixedMLPUNet.from_preset("best", input_channels=3, num_classes=3)


def test_padding_and_pooling_do_not_change_the_image() -> None:
    network = small(norm_op=nn.InstanceNorm2d).eval()
    image = torch.randn(1, 1, 40, 48)
    before = image.clone()
    network(image)
    assert torch.equal(image, before)
