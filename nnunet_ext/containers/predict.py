"""Prediction inside a container: one case after the other in one process, as /dev/shm and the threads are few."""

import contextlib
import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from nnunet_ext.containers.errors import CaseError
from nnunet_ext.containers.runtime import reason
from nnunet_ext.containers.settings import Settings


def load(folder: Path, settings: Settings) -> Any:
    """nnU-Net's predictor with the model in `folder`, on the GPU if there is one."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with contextlib.redirect_stdout(io.StringIO()):  # says where it searches trainers
        predictor = nnUNetPredictor(
            tile_step_size=settings.step_size, use_mirroring=settings.mirroring, device=device, allow_tqdm=False
        )
        predictor.initialize_from_trained_model_folder(str(folder), tuple(settings.folds), settings.checkpoint)
    return predictor


def reader_of(predictor: Any) -> Any:
    """The reader of images that the model was trained with: it decides how axes are ordered."""
    return predictor.plans_manager.image_reader_writer_class()


def predict(predictor: Any, images: Sequence[Path], target: Path) -> None:
    """Predict one case and write its labels with the reader that the model was trained with.

    Args:
        predictor: what `load` returned.
        images: the case's files, as its reader reads them: one per channel, or one with all.
        target: the file; its ending must be one that the reader writes.

    Raises:
        CaseError: if the images cannot be read, or have other channels than the model.
    """
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels

    reader = reader_of(predictor)
    said = io.StringIO()  # the reader prints what is wrong, and raises an error without words
    try:
        for file in images:
            _check_whole(file)
        with contextlib.redirect_stdout(said):
            image, properties = reader.read_images([str(file) for file in images])
    except Exception as error:  # a damaged file raises whatever its bytes happen to say
        printed = said.getvalue().strip().partition("\n")[0]
        raise CaseError(f"cannot be read: {reason(error) if str(error) else printed}") from error
    expected = determine_num_input_channels(
        predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json
    )
    if len(image) != expected:
        raise CaseError(f"has {len(image)} channel(s), and the model was trained on {expected}")
    labels = predictor.predict_single_npy_array(image, properties)
    reader.write_seg(labels, str(target), properties)


def _check_whole(file: Path) -> None:
    """Read a compressed file to its end: ITK fills what is missing of a cut one, without a word."""
    if file.suffix == ".gz":
        with gzip.open(file) as packed:
            while packed.read(1 << 24):
                pass
