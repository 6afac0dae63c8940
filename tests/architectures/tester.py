"""The tests that every network passes; a network's test class inherits them and names its class."""

import copy
import pickle
import random
from itertools import pairwise
from math import prod
from typing import Any

import pytest
import torch
from torch import nn

from ..plans import random_plans, sizes_under_supervision, topology, unet_arguments

PLANS = {
    "2d": ((1.0, 1.0), (32, 24)),
    "2d-odd": ((0.7, 1.3), (28, 20)),
    "3d": ((1.0, 1.0, 1.0), (16, 24, 16)),
    "3d-anisotropic": ((4.0, 1.0, 1.0), (6, 32, 24)),
}


class ArchitectureTester:
    """Give `network_class`, and `options` for variants; `make` where these are not all that there is to it."""

    network_class: type[nn.Module]
    options: dict[str, Any] = {}
    most_refused = 0.05
    """Part of the plans drawn that may be refused, with a reason."""
    every = 1
    """Of the plans drawn, which one is run; more for variants of a network that runs on all of them."""

    def make(self, **arguments: Any) -> nn.Module:
        """The network for a plan's arguments."""
        return self.network_class(**{**arguments, **self.options})

    def build(self, plan: str = "2d", channels: int = 1, classes: int = 3, **changes: Any) -> nn.Module:
        spacing, patch = PLANS[plan]
        arguments = unet_arguments(spacing, patch, base_features=4, max_features=16, n_conv=1)
        return self.make(input_channels=channels, num_classes=classes, **{**arguments, **changes})

    @staticmethod
    def image(plan: str = "2d", channels: int = 1, batch: int = 2) -> torch.Tensor:
        return torch.randn(batch, channels, *topology(*PLANS[plan])[2])

    @pytest.mark.parametrize("plan", PLANS)
    @pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 5), (5, 16)])
    def test_logits_have_the_size_of_the_image(self, plan: str, channels: int, classes: int) -> None:
        network = self.build(plan, channels, classes).eval()
        image = self.image(plan, channels, batch=1)
        with torch.no_grad():
            logits = network(image)
        assert logits.shape == (1, classes, *image.shape[2:])
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()

    @pytest.mark.parametrize("plan", PLANS)
    def test_deep_supervision_has_the_scales_that_nnunet_expects(self, plan: str) -> None:
        network = self.build(plan, deep_supervision=True)
        image = self.image(plan)
        outputs = network(image)
        strides, _, patch = topology(*PLANS[plan])
        assert [tuple(output.shape[2:]) for output in outputs] == sizes_under_supervision(strides, patch)
        network.decoder.deep_supervision = False
        assert torch.equal(network(image), outputs[0])

    @pytest.mark.parametrize("plan", PLANS)
    @pytest.mark.parametrize("deep_supervision", [True, False])
    def test_every_parameter_gets_a_gradient(self, plan: str, deep_supervision: bool) -> None:
        network = self.build(plan, deep_supervision=deep_supervision)
        _leave_the_start(network)
        outputs = network(self.image(plan))
        sum(output.square().mean() for output in (outputs if deep_supervision else [outputs])).backward()
        trained = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
        assert [name for name, gradient in trained.items() if gradient is None] == []
        assert all(gradient.isfinite().all() for gradient in trained.values())
        frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
        assert all(".seg_layers." in name for name in frozen)
        assert deep_supervision <= (not frozen)

    @pytest.mark.parametrize("plan", ["2d", "3d"])
    def test_weights_load_strictly_for_another_patch_size(self, plan: str) -> None:
        network = self.build(plan, deep_supervision=True).eval()
        other = self.build(plan, deep_supervision=False).eval()
        other.load_state_dict(network.state_dict(), strict=True)
        larger = torch.randn(1, 1, *(2 * size for size in topology(*PLANS[plan])[2]))
        with torch.no_grad():
            assert torch.equal(other(larger), network(larger)[0])

    @pytest.mark.parametrize("plan", ["2d", "3d"])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
    def test_autocast_is_finite(self, plan: str, dtype: torch.dtype) -> None:
        network = self.build(plan, deep_supervision=True)
        _leave_the_start(network)
        with torch.autocast("cpu", dtype=dtype):
            outputs = network(10 * self.image(plan))
        assert all(output.dtype == dtype and output.isfinite().all() for output in outputs)
        sum(output.float().square().mean() for output in outputs).backward()
        assert all(p.grad.isfinite().all() for p in network.parameters())

    @pytest.mark.parametrize("plan", ["2d", "3d"])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
    @pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
    def test_network_in_half_precision_returns_the_dtype_of_the_image(
        self, plan: str, dtype: torch.dtype, device: str
    ) -> None:
        network = self.build(plan).eval().to(device, dtype)
        if device == "cpu" and any(isinstance(module, nn.AvgPool3d) for module in network.modules()):
            pytest.skip("PyTorch has no 3D average pooling of half precision on the CPU")
        with torch.no_grad():
            logits = network(self.image(plan).to(device, dtype))
        assert logits.dtype == dtype
        assert logits.isfinite().all()

    @pytest.mark.parametrize("plan", ["2d", "3d"])
    def test_compiles_without_graph_breaks(self, plan: str) -> None:
        network = self.build(plan, deep_supervision=True)
        image = self.image(plan)
        # As nnU-Net trains on CUDA: under autocast, and then in eval mode, one image, deep supervision switched off.
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=plan == "3d")
        with autocast:
            expected = network(image)
        torch._dynamo.reset()
        compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
        with autocast:
            outputs = compiled(image)
        tolerance = 0.05 if plan == "3d" else 1e-4
        for output, reference in zip(outputs, expected, strict=True):
            torch.testing.assert_close(output, reference, rtol=tolerance, atol=tolerance)
        sum(output.float().square().mean() for output in outputs).backward()
        assert all(p.grad is not None for p in network.parameters())
        network.decoder.deep_supervision = False
        with autocast, torch.inference_mode():
            logits = compiled.eval()(image[:1])
            torch.testing.assert_close(logits, network.eval()(image[:1]), rtol=tolerance, atol=tolerance)

    @pytest.mark.parametrize("plan", PLANS)
    def test_feature_map_estimate_is_positive_and_grows_on_every_axis(self, plan: str) -> None:
        network = self.build(plan)
        patch = topology(*PLANS[plan])[2]
        assert network.compute_conv_feature_map_size(patch) >= prod(patch)
        for axis, step in enumerate(network.total_stride):
            sizes = [(*patch[:axis], patch[axis] + n * step, *patch[axis + 1 :]) for n in range(5)]
            estimates = [network.compute_conv_feature_map_size(size) for size in sizes]
            assert all(less < more for less, more in pairwise(estimates)), (axis, estimates)

    @pytest.mark.parametrize("plan", ["2d", "3d"])
    def test_same_seed_same_network_and_output(self, plan: str) -> None:
        image = self.image(plan)
        outputs = []
        for _ in range(2):
            torch.manual_seed(7)
            outputs.append(self.build(plan)(image))
        assert torch.equal(*outputs)

    @pytest.mark.parametrize("plan", ["2d", "3d"])
    def test_an_image_does_not_depend_on_its_batch(self, plan: str) -> None:
        network = self.build(plan).eval()
        _leave_the_start(network)
        image = self.image(plan, batch=2)
        with torch.no_grad():
            together = network(image)
            alone = torch.cat([network(image[i : i + 1]) for i in range(2)])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("plan", ["2d", "3d"])
    def test_deep_copies_and_pickles(self, plan: str) -> None:
        network = self.build(plan).eval()
        image = self.image(plan, batch=1)
        with torch.no_grad():
            expected = network(image)
            assert torch.equal(copy.deepcopy(network)(image), expected)
            assert torch.equal(pickle.loads(pickle.dumps(network))(image), expected)

    @pytest.mark.parametrize("plan", ["2d", "3d"])
    def test_is_silent(self, plan: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.build(plan)(self.image(plan))
        assert capsys.readouterr() == ("", "")

    @pytest.mark.parametrize(("n_axes", "largest", "n"), [(2, 320, 200), (3, 96, 100)])
    def test_runs_on_every_plan(self, n_axes: int, largest: int, n: int) -> None:
        draw = random.Random(n_axes)
        refused = 0
        for number, (spacing, patch) in enumerate(random_plans(n, n_axes, largest, seed=3)):
            arguments = unet_arguments(spacing, patch, base_features=1, max_features=2, n_conv=1)
            if draw.random() < 0.5:  # as nnU-Net's residual encoder plans have it
                arguments["n_blocks_per_stage"] = arguments.pop("n_conv_per_stage")
            channels, classes, supervised = draw.choice((1, 3, 5)), draw.randint(2, 16), draw.random() < 0.5
            arguments |= {"input_channels": channels, "num_classes": classes, "deep_supervision": supervised}
            strides = arguments["strides"]
            if len(strides) == 1:  # a patch too small for any pooling, of which nnU-Net's own network fails, too
                refused += 1
                with pytest.raises(ValueError, match="at least 2 stages"):
                    self.make(**arguments)
                continue
            if number % self.every:
                continue
            network = self.make(**arguments)
            if prod(network.stage_sizes(patch)[-1]) == 1:  # only where a network has strides of its own
                refused += 1
                with pytest.raises(ValueError, match="leaves one voxel at the bottleneck"):
                    network.check_patch_size(patch)
                continue
            network.check_patch_size(patch)
            trained = number % 4 == 0 and prod(patch) < 10_000
            with torch.set_grad_enabled(trained):
                outputs = network.train(trained)(torch.randn(1 + trained, channels, *patch))
            outputs = outputs if supervised else [outputs]
            sizes = sizes_under_supervision(strides, patch) if supervised else [patch]
            expected = [(1 + trained, classes, *size) for size in sizes]
            assert [tuple(output.shape) for output in outputs] == expected, (spacing, patch)
            assert all(output.isfinite().all() for output in outputs), (spacing, patch)
            if trained:
                sum(output.square().mean() for output in outputs).backward()
                gradients = [p.grad for p in network.parameters() if p.requires_grad]
                assert all(g is not None and g.isfinite().all() for g in gradients), (spacing, patch)
        assert refused <= self.most_refused * n


def _leave_the_start(network: nn.Module) -> None:
    """Residual branches start at zero: move the weights, so that a wrong branch shows."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
