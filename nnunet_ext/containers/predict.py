"""Prediction inside a container: one case after the other in one process, as /dev/shm and the threads are few."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunet_ext.containers.errors import CaseError
from nnunet_ext.containers.settings import Settings
from nnunet_ext.inference import reading
from nnunet_ext.inference.loading import load as load_model
from nnunet_ext.inference.predictor import Predictor


def load(folder: Path, settings: Settings) -> Predictor:
    """The model in `folder`, on the GPU if there is one."""
    folds = [str(fold) for fold in settings.folds]
    return load_model(folder, folds, settings.checkpoint, step_size=settings.step_size, mirroring=settings.mirroring)


def reader_of(predictor: Predictor) -> Any:
    """The reader of images that the model was trained with: it decides how axes are ordered."""
    return predictor.plans_manager.image_reader_writer_class()


def predict(predictor: Predictor, images: Sequence[Path], target: Path) -> None:
    """Predict one case and write its labels with the reader that the model was trained with.

    Args:
        predictor: what `load` returned.
        images: the case's files, as its reader reads them: one per channel, or one with all.
        target: the file; its ending must be one that the reader writes.

    Raises:
        CaseError: if the images cannot be read, or have other channels than the model.
    """
    try:
        labels, properties = predictor.predict_files(images)
    except reading.CaseError as error:
        raise CaseError(str(error)) from error
    reader_of(predictor).write_seg(labels, str(target), properties)
