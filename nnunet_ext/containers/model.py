"""A trained model, checked for a challenge before anything is built of it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext import _startup
from nnunet_ext.containers.challenges import FLARE, Challenge
from nnunet_ext.containers.errors import CaseError, ContainerError
from nnunet_ext.sharing.model import Model, check_that_it_predicts, find_trainer, open_model


@dataclass(frozen=True)
class ChallengeModel:
    """A model that fits a challenge."""

    model: Model
    labels: list[int]
    """Every value that a prediction can hold, 0 included."""
    trainer: Path | None
    """The module of a trainer that neither nnU-Net nor nnunet_ext has; None for theirs."""


def open_for(
    challenge: Challenge, folder: Path, folds: Sequence[str] | None, checkpoint: str, inputs: Sequence[str]
) -> ChallengeModel:
    """Read the model in `folder` without running anything that its checkpoints hold, and load it once on the CPU.

    Args:
        challenge: which.
        folder: nnUNet_results/DatasetXXX_Name/TRAINER__PLANS__CONFIGURATION.
        folds: which; None for all that are there.
        checkpoint: which of a fold's checkpoints.
        inputs: names of the challenge's images, in the order of the model's channels; empty for the only one.

    Raises:
        ValueError, ContainerError: if it cannot be read, or does not fit the challenge.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    model = open_model(folder, folds, checkpoint)
    trainer = find_trainer(model.trainer)
    check_that_it_predicts(folder, model.folds, checkpoint)
    if stage := model.configuration_entries.get("previous_stage"):
        raise ContainerError(
            f"{model.configuration} is the second stage of a cascade and needs the predictions of {stage}: "
            "containers hold one stage, so give a 3d_fullres, 3d_lowres or 2d model"
        )
    plans = PlansManager(model.plans)
    _check_reader(challenge, plans.image_reader_writer_class)
    _check_inputs(challenge, model, plans.image_reader_writer_class, inputs)
    labels = plans.get_label_manager(model.dataset)
    values = labels.regions_class_order if labels.has_regions else labels.all_labels
    return ChallengeModel(model, sorted({0, *map(int, values)}), _own_module(trainer))


def _check_reader(challenge: Challenge, reader: Any) -> None:
    from nnunet_ext.containers.images import ending_of

    endings = reader.supported_file_endings
    if challenge is FLARE and ".nii.gz" not in endings:
        raise ContainerError(
            f"this model reads {', '.join(endings)} (nnU-Net's {reader.__name__}), and FLARE's images are .nii.gz: "
            "give a model that was trained on those, or another --target"
        )
    if ".tif" in endings and ".png" not in endings:  # volumes, which lose their spacing in this kind of file
        raise ContainerError(
            f"this model reads {', '.join(endings)} as volumes (nnU-Net's {reader.__name__}), and challenges have no "
            "such images: give a model that was trained with another reader"
        )
    try:
        ending_of(reader)
    except CaseError as error:
        raise ContainerError(f"{error}: give a model that was trained with another reader") from error


def _check_inputs(challenge: Challenge, model: Model, reader: Any, inputs: Sequence[str]) -> None:
    channels = list(model.dataset.get("channel_names", model.dataset.get("modality", {})).values())
    if challenge is FLARE:
        return
    if len(inputs) > len(channels):
        raise ContainerError(f"--inputs names {len(inputs)} images, and the model has {len(channels)} channel(s)")
    one_file_has_all = ".tif" in reader.supported_file_endings
    if len(channels) > 1 and not inputs and not one_file_has_all:
        raise ContainerError(
            f"the model has {len(channels)} channels ({', '.join(map(str, channels))}): name the challenge's images in "
            "this order with --inputs, or the one image that holds all of them"
        )


def _own_module(trainer: type) -> Path | None:
    package, _, inner = trainer.__module__.partition(".")
    if package in ("nnunetv2", "nnunet_ext"):
        return None
    for folder in os.environ.get(_startup.VARIABLE, "").split(os.pathsep):
        module = Path(folder, f"{package}.py")
        if folder and not inner and module.is_file():
            return module
    raise ContainerError(
        f"the trainer {trainer.__name__} is in the module {trainer.__module__}, not in a file that lies right in "
        f"a folder of {_startup.VARIABLE}: put it there, so that the image can get it"
    )
