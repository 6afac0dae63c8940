"""A trained model's folder, loaded for prediction.

No code comes from it: checkpoints are read as weights only, and plans may name nothing but networks and layers, classes
of `torch.nn.Module` that are installed here (`nnunet_ext.sharing.layers`). A trainer of ours is not looked for.
"""

import contextlib
import inspect
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext import _startup
from nnunet_ext.devices import find_device
from nnunet_ext.inference.predictor import Predictor
from nnunet_ext.one_line import in_one_line
from nnunet_ext.sharing.model import Model, find_trainer, open_model


def load(
    folder: Path,
    folds: Sequence[str] | None = None,
    checkpoint_name: str = "checkpoint_final.pth",
    *,
    device: torch.device | str | None = None,
    step_size: float = 0.5,
    mirroring: bool = True,
    on_device: bool = True,
    max_memory: float | None = None,
    progress: bool = False,
) -> Predictor:
    """Load a model folder as nnU-Net writes it, or as `nnunet-ext export` does.

    Args:
        folder: .../DatasetXXX_Name/TRAINER__PLANS__CONFIGURATION.
        folds: numbers or "all"; None for every numbered fold that is there, or for `fold_all` alone.
        checkpoint_name: a file's name.
        device: where the network runs; None for the best one that there is.
        step_size: see `Predictor`, as the options that follow.
        mirroring: the same.
        on_device: the same.
        max_memory: the same.
        progress: the same.

    Raises:
        ValueError: the folder holds no model that can be loaded, or not safely; or the device is absent.
    """
    model = open_model(folder, folds, checkpoint_name)
    options: dict[str, Any] = {"step_size": step_size, "mirroring": mirroring, "on_device": on_device}
    predictor = Predictor(find_device(device), **options, max_memory=max_memory, progress=progress)
    plans = PlansManager(model.plans)
    try:
        with warnings.catch_warnings(action="ignore"):  # about old plans, which nnU-Net converts
            configuration = plans.get_configuration(model.configuration)
        network = _network(model, plans, configuration)
        weights = [checkpoint["network_weights"] for checkpoint in model.checkpoints.values()]
        for fold in weights:
            network.load_state_dict(fold)
    except _OldTrainerError:
        raise
    except Exception as error:  # broken plans and weights make nnU-Net raise anything
        raise ValueError(
            f"the model in {folder} cannot be loaded ({in_one_line(error, 300)}): "
            "use the plans, dataset.json and trainer that its weights were trained with"
        ) from error
    axes = next(iter(model.checkpoints.values())).get("inference_allowed_mirroring_axes")
    predictor.manual_initialization(network, plans, configuration, weights, model.dataset, model.trainer, axes)
    return predictor


class _OldTrainerError(ValueError):
    pass


def _network(model: Model, plans: PlansManager, configuration: Any) -> torch.nn.Module:
    trainer = _trainer(model.trainer)
    if "plans_manager" not in inspect.signature(trainer.build_network_architecture).parameters:
        raise _OldTrainerError(
            f"the trainer {model.trainer} builds its network as nnU-Net before 2.7 did: "
            "predict with nnUNetv2_predict_from_modelfolder"
        )
    inputs = determine_num_input_channels(plans, configuration, model.dataset)
    outputs = plans.get_label_manager(model.dataset).num_segmentation_heads
    network: torch.nn.Module = trainer.build_network_architecture(
        plans, configuration, inputs, outputs, enable_deep_supervision=False
    )
    return network


def _trainer(name: str) -> Any:
    """nnU-Net's look-up imports all of its own trainers, with timm and torchvision, before it finds one of ours."""
    folders = os.environ.get(_startup.VARIABLE, "").split(os.pathsep)
    if set(folders) <= {"", _startup.FOLDER}:  # another folder's trainer of the same name would win
        from nnunet_ext import trainers

        with contextlib.suppress(AttributeError):
            return getattr(trainers, name)
    return find_trainer(name)
