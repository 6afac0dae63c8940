"""Model folders as nnU-Net writes them, with random weights."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext import trainers


def write_model(
    folder: Path,
    plans: dict[str, Any],
    dataset: dict[str, Any],
    *,
    configuration: str = "3d_fullres",
    trainer: str = "nnUNetTrainer",
    folds: Sequence[int] = (0,),
    mirrored_axes: tuple[int, ...] | None = None,
) -> Path:
    """Make nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION in `folder`; returns it."""
    model = folder / plans["dataset_name"] / f"{trainer}__{plans['plans_name']}__{configuration}"
    manager = PlansManager(plans)
    planned = manager.get_configuration(configuration)
    builder = nnUNetTrainer if trainer == "nnUNetTrainer" else getattr(trainers, trainer)
    inputs = determine_num_input_channels(manager, planned, dataset)
    outputs = manager.get_label_manager(dataset).num_segmentation_heads
    for fold in folds:
        torch.manual_seed(fold)
        network = builder.build_network_architecture(manager, planned, inputs, outputs, enable_deep_supervision=False)
        checkpoint = {
            "network_weights": network.state_dict(),
            "trainer_name": trainer,
            "init_args": {"configuration": configuration, "fold": fold},
            "inference_allowed_mirroring_axes": mirrored_axes,
        }
        (model / f"fold_{fold}").mkdir(parents=True)
        torch.save(checkpoint, model / f"fold_{fold}" / "checkpoint_final.pth")
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text(json.dumps(dataset))
    return model
