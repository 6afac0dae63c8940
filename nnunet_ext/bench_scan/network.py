"""A training step of the whole 3D LKM-UNet: its time and memory with each way to compute the scans.

The step is nnU-Net's own: autocast and gradient scaler on CUDA, Dice and cross-entropy with deep supervision, gradient
clipping, SGD; not compiled, as a graph cannot contain mamba-ssm's kernel.
"""

import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, nn

from nnunet_ext.architectures import LKMUNet
from nnunet_ext.bench_scan.measure import Result, reason
from nnunet_ext.bench_scan.resources import PeakMemory, seconds
from nnunet_ext.bench_scan.rivals import SLOW
from nnunet_ext.blocks import BidirectionalMamba, MambaDirection
from nnunet_ext.ops import backend_status
from nnunet_ext.ops.selective_scan.registry import ENVIRONMENT_VARIABLE

RIVAL = "mamba_ssm and flips"
"""mamba-ssm's kernel as LKM-UNet's authors call it: along flipped copies, and no activation is recomputed."""

BATCH = 2
CLASSES = 14


class Plan(NamedTuple):
    """What nnU-Net plans the network for."""

    spacing: tuple[float, float, float]
    patch: tuple[int, int, int]
    base_features: int

    def arguments(self) -> dict[str, Any]:
        """The network's arguments, as in nnU-Net's standard plan."""
        _, strides, kernels, _, _ = get_pool_and_conv_props(self.spacing, self.patch, 4, 999999)
        return {
            "n_stages": len(strides),
            "features_per_stage": [min(self.base_features * 2**stage, 320) for stage in range(len(strides))],
            "conv_op": nn.Conv3d,
            "kernel_sizes": kernels,
            "strides": strides,
            "n_conv_per_stage": 2,
            "n_conv_per_stage_decoder": 2,
            "conv_bias": True,
            "norm_op": nn.InstanceNorm3d,
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": nn.LeakyReLU,
            "nonlin_kwargs": {"inplace": True},
            "deep_supervision": True,
        }


GPU_PLAN = Plan((2.5, 0.8, 0.8), (40, 224, 192), 32)  # the CT data set of the LKM-UNet paper
CPU_PLAN = Plan((2.5, 0.8, 0.8), (16, 64, 64), 16)


class Flipped(nn.Module):
    """A direction along flipped tokens, and its output flipped back, instead of a scan that runs backwards."""

    def __init__(self, direction: MambaDirection) -> None:
        super().__init__()
        self.direction = direction
        self.direction.reverse = False

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L, C) to gated tokens (B, L, D)."""
        return self.direction(tokens.flip(1)).flip(1)


def measure_network(plan: Plan, device: torch.device, repetitions: int) -> dict[str, Result]:
    """By backend (ours), and for `RIVAL`: median seconds of a step and peak_bytes, or "skipped", the reason.

    peak_bytes is everything that training holds: network, gradients, optimiser, activations (see `PeakMemory`).
    """
    results: dict[str, Result] = {}
    for name, usable, why_not in backend_status(device):
        if name in SLOW:
            results[name] = {"skipped": "a loop over every token"}
        elif usable:
            results[name] = _measure(plan, device, name, repetitions, flips=False)
        if name == "mamba_ssm":
            results[RIVAL] = _measure(plan, device, name, repetitions, flips=True) if usable else {"skipped": why_not}
    return results


def _measure(plan: Plan, device: torch.device, backend: str, repetitions: int, flips: bool) -> Result:
    try:
        with PeakMemory(device) as memory, _scans_by(backend):
            trainer, batch = _training(plan, device, flips)
            times = [seconds(lambda: nnUNetTrainer.train_step(trainer, batch), device) for _ in range(1 + repetitions)]
    except Exception as error:  # a rival's kernel raises what it likes
        return {"skipped": reason(error)}
    return {"seconds": statistics.median(times[1:]), "peak_bytes": memory.bytes}  # the first one compiles


def _training(plan: Plan, device: torch.device, flips: bool) -> tuple[SimpleNamespace, dict[str, Any]]:
    """What nnU-Net's training step asks of a trainer, and a batch."""
    torch.manual_seed(0)
    with device:
        network = LKMUNet(1, num_classes=CLASSES, recompute=False if flips else None, **plan.arguments())
    if flips:
        flip_instead(network)
    sizes = network.stage_sizes(plan.patch)[:-1]
    weights = [0.5**level for level in range(len(sizes) - 1)] + [0.0]
    loss = DC_and_CE_loss(
        {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}, {}, dice_class=MemoryEfficientSoftDiceLoss
    )
    trainer = SimpleNamespace(
        device=device,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 1e-2, momentum=0.99, nesterov=True, weight_decay=3e-5),
        loss=DeepSupervisionWrapper(loss, [weight / sum(weights) for weight in weights]),
        grad_scaler=torch.amp.GradScaler("cuda") if device.type == "cuda" else None,
    )
    target = [torch.randint(CLASSES, (BATCH, 1, *size), device=device).float() for size in sizes]
    return trainer, {"data": torch.randn(BATCH, 1, *plan.patch, device=device), "target": target}


def flip_instead(network: nn.Module) -> None:
    """Let every backward direction of the network run forwards along flipped tokens; it computes the same."""
    for module in network.modules():
        if isinstance(module, BidirectionalMamba) and module.mamba_backw is not None:
            module.add_module("mamba_backw", Flipped(module.mamba_backw))


@contextmanager
def _scans_by(backend: str) -> Iterator[None]:
    """Within it all scans of this process are computed by that backend."""
    before = os.environ.get(ENVIRONMENT_VARIABLE)
    os.environ[ENVIRONMENT_VARIABLE] = backend
    try:
        yield
    finally:
        os.environ.pop(ENVIRONMENT_VARIABLE)
        if before is not None:
            os.environ[ENVIRONMENT_VARIABLE] = before
