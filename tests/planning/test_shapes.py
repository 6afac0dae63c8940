"""The quick fake tensors tell what PyTorch's own tell."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from nnunet_ext.planning import training_step
from nnunet_ext.planning.estimator import Estimator
from nnunet_ext.planning.planner import PLANNERS
from nnunet_ext.planning.shapes import Shapes
from nnunet_ext.planning.training_step import Batch, fake_backward, fake_forward
from tests.planning.plans_of import architecture, padded


@pytest.mark.parametrize("network", ["lkm_unet", "mlla_unet", "meta_mamba_unet", "mixed_mlp_unet"])
def test_steps_take_the_same_bytes(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spacing, patch = (4, 1, 1), (12, 64, 64)
    arch = architecture(spacing, patch, base_features=8, max_features=32)
    estimator = Estimator(PLANNERS[network].trainer, channels=2, classes=3)
    batch = Batch(2, 2, padded(spacing, patch), estimator.scales(arch))
    steps: list[Callable[..., int]] = [fake_forward, fake_backward]
    quick = [step(lambda: estimator.build(arch), batch, "cuda") for step in steps]
    monkeypatch.setattr(training_step, "Shapes", FakeTensorMode)
    assert quick == [step(lambda: estimator.build(arch), batch, "cuda") for step in steps]


OPERATORS: list[Callable[[Tensor], Any]] = [
    lambda x: x.transpose(0, 1).contiguous().view(-1),
    lambda x: x.to(torch.float16) + x,
    lambda x: x.double().sum(0, keepdim=True),
    lambda x: torch.cat([x, x.select(1, 0).unsqueeze(1)], 1).split(2, 1),
    lambda x: torch.where(x > 0, x.exp(), torch.tensor(2.0)),
    lambda x: x.to(memory_format=torch.channels_last).permute(0, 2, 3, 1),
    lambda x: nn.functional.silu(x).expand(2, *x.shape)[0].unbind(),
    lambda x: x.detach().copy_(torch.ones_like(x)).mul_(2),
    lambda x: x.new_empty(3).fill_(1).repeat(2),
]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_operators_have_the_same_results(operator: Callable[[Tensor], Any], device: str) -> None:
    told = []
    for mode in (Shapes(), FakeTensorMode()):
        with mode:
            result = operator(torch.empty(2, 3, 4, 5, device=device))
            results = result if isinstance(result, tuple) else (result,)
            told.append([(x.shape, x.stride(), x.dtype, x.device, x.untyped_storage().nbytes()) for x in results])
    assert told[0] == told[1]
    with Shapes():
        assert not any(x.is_meta for x in results)


def test_values_are_refused() -> None:
    with Shapes(), pytest.raises(DataDependentOutputException):
        torch.empty(1).add(1).item()


@pytest.mark.parametrize(
    ("version", "gpu", "told"), [("2.8.0+cu128", False, True), ("2.8.0", True, False), ("2.10.0", False, False)]
)
def test_an_older_torch_plans_only_where_the_gpu_is(
    version: str, gpu: bool, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    refused = pytest.raises(ValueError, match=rf"torch 2\.10 or later, and this is {re.escape(version)}: plan on the")
    with refused if told else nullcontext():
        Estimator(PLANNERS["lkm_unet"].trainer, channels=1, classes=2)
