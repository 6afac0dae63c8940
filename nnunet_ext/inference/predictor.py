"""nnU-Net's predictor, with its labels, in memory that does not grow with the number of classes.

nnU-Net holds the logits of all classes of an image and then brings all of them to the image's size: 512 x 512 x 500
voxels and 14 classes are 3.7 GB in half precision, several times, 118 classes are 31 GB. Here tiles are summed in the
few rows that are not finished (`tiles`), finished rows go to memory or, if there is none, to a file, and one class
after the other is read from there and made labels of (`labels`). The networks, the tiles, their weights, mirroring,
preprocessing, resampling and cropping are nnU-Net's own functions.
"""

import contextlib
import io
import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from nnunetv2.utilities.label_handling.label_handling import convert_labelmap_to_one_hot, determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from torch import Tensor
from tqdm import tqdm

from nnunet_ext import cores
from nnunet_ext.inference.labels import MOST_THREADS, ClassByClass, Labels, Logits, ReadyMade
from nnunet_ext.inference.memory import GIB, available
from nnunet_ext.inference.reading import CaseError, Image, Properties, read
from nnunet_ext.inference.tiles import FoldSum, Slab


class Predictor(nnUNetPredictor):
    """A model that predicts one case at a time in this process; `nnunet_ext.inference.loading.load` makes it."""

    def __init__(
        self,
        device: torch.device,
        *,
        step_size: float = 0.5,
        mirroring: bool = True,
        on_device: bool = True,
        max_memory: float | None = None,
        progress: bool = False,
    ):
        """Make a predictor without a model.

        Args:
            device: where the network runs.
            step_size: between tiles, as a part of their size.
            mirroring: predict mirrored tiles too, along the axes of the training.
            on_device: sum up tiles there too, if it is a GPU with room for it.
            max_memory: GiB that logits and their resampling may take, else they go to a file and are resampled one at
                a time; None for half of what is free when a case begins.
            progress: show a bar of tiles.
        """
        with contextlib.redirect_stdout(io.StringIO()):  # nnU-Net says on every CPU that there is no GPU
            super().__init__(
                tile_step_size=step_size,
                use_mirroring=mirroring,
                perform_everything_on_device=on_device and device.type == "cuda",
                device=device,
                allow_tqdm=progress,
            )
        self._max_memory = max_memory
        self._sum = FoldSum(0)

    @property
    def previous_stage(self) -> str | None:
        """The configuration whose predictions a case needs too, if this is a cascade's second stage."""
        return self.configuration_manager.previous_stage_name

    def predict_files(self, images: Sequence[Path], previous: Path | None = None) -> tuple[Labels, Properties]:
        """Predict a case from its files.

        Args:
            images: one file for each channel.
            previous: the prediction of the previous stage, for a cascade.

        Returns:
            The label map, in the axes of nnU-Net's reader and the geometry of the image; what `write` needs.

        Raises:
            CaseError: a file cannot be read, or the images do not fit the model or each other.
        """
        reader = self.plans_manager.image_reader_writer_class()
        return self._predict(lambda: read(reader, images, previous))

    def predict_array(self, image: Image, properties: Properties, previous: Image | None = None) -> Labels:
        """Predict a case in memory.

        Args:
            image: (channels, x, y, z), with the axes of nnU-Net's reader for the model; 2D images have one x.
            properties: at least "spacing", of x, y and z; nnU-Net's preprocessing adds to it.
            previous: (1, x, y, z), the prediction of the previous stage, for a cascade.

        Returns:
            The label map (x, y, z), uint8, or uint16 from 255 labels on.

        Raises:
            CaseError: the image does not fit the model, or `previous` is needed or is not.
        """
        return self._predict(lambda: (image, properties, previous))[0]

    def write(self, labels: Labels, file: Path, properties: Properties) -> None:
        """Write a label map with nnU-Net's writer, whole or not at all; `file` ends as the model's images do."""
        ending = self.dataset_json["file_ending"]
        part = file.with_name(f".{file.name.removesuffix(ending)}.{os.getpid()}.part{ending}")
        try:
            self.plans_manager.image_reader_writer_class().write_seg(labels, str(part), properties)
            os.replace(part, file)
        finally:
            part.unlink(missing_ok=True)

    def warm(self) -> None:
        """Run one tile, so that kernels are compiled and in their caches before the first case."""
        patch = self.configuration_manager.patch_size
        channels = determine_num_input_channels(self.plans_manager, self.configuration_manager, self.dataset_json)
        self._logits(torch.zeros(channels, *([1] * (3 - len(patch))), *patch))

    def _predict(self, read_case: Callable[[], tuple[Image, Properties, Image | None]]) -> tuple[Labels, Properties]:
        """Nothing large outlives its use here; a caller that held the image would keep it to the end."""
        image, properties, previous = read_case()
        names = list((self.dataset_json.get("channel_names") or self.dataset_json["modality"]).values())
        if len(image) != len(names):
            raise CaseError(
                f"expected {len(names)} channel{'s' * (len(names) > 1)} ({', '.join(names)}), found {len(image)}"
            )
        if (previous is None) != (self.previous_stage is None):
            needed = f"the prediction of {self.previous_stage}" if self.previous_stage else "no earlier prediction"
            raise CaseError(f"the model takes {needed}")
        data = self._preprocessed(image, properties, previous)
        del image, previous
        logits = self._logits(data)
        del data
        try:
            return self._labelled(logits, properties), properties
        finally:
            self._sum = FoldSum(0)

    def _preprocessed(self, image: Image, properties: Properties, previous: Image | None) -> Tensor:
        configuration = self.configuration_manager
        preprocessor = configuration.preprocessor_class(verbose=False)
        if previous is None:
            configuration = _ImagesOnly(configuration.configuration)
        data, labels, _ = preprocessor.run_case_npy(
            image, previous, properties, self.plans_manager, configuration, self.dataset_json
        )
        if previous is not None:
            one_hot = convert_labelmap_to_one_hot(labels[0], self.label_manager.foreground_labels, data.dtype)
            data = np.vstack((data, one_hot))
        return torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))

    @torch.inference_mode()
    def _logits(self, data: Tensor) -> Logits:
        self._sum = FoldSum(available() // 2 if self._max_memory is None else int(self._max_memory * GIB))
        network: Any = getattr(self.network, "_orig_mod", self.network)  # out of the wrapper of torch.compile
        for weights in self.list_of_parameters:
            network.load_state_dict(weights)
            self._sum.begin_fold()
            sums = self.predict_sliding_window_return_logits(data)
        return Logits(sums, len(self.list_of_parameters), self._sum.let_go)

    def _labelled(self, logits: Logits, properties: Properties) -> Labels:
        manager = self.label_manager
        labels: Labels = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits,
            self.plans_manager,
            ClassByClass(
                self.configuration_manager.configuration,
                manager,
                self._sum.room_left,
                min(MOST_THREADS, cores.usable()),
            ),
            ReadyMade(manager.label_dict, manager.regions_class_order),
            properties,
            num_threads_torch=torch.get_num_threads(),
        )
        return labels

    @torch.inference_mode()
    def _internal_predict_sliding_window_return_logits(
        self, data: Tensor, slicers: list[tuple[slice | int, ...]], do_on_device: bool = True
    ) -> Tensor:
        """What nnU-Net calls for an image and its tiles: one fold's logits, here added to those of the folds before.

        It calls this again with `do_on_device=False` if a GPU's memory was too small.
        """
        patch = tuple(self.configuration_manager.patch_size)
        classes, rows = self.label_manager.num_segmentation_heads, patch[0] if len(patch) == 3 else 1
        device = self.device if do_on_device else torch.device("cpu")
        self._sum.make_room((classes, *data.shape[1:]))
        shape = (classes, rows, *data.shape[2:])
        image = slab = logits = None
        try:
            image = data.to(device)
            slab = Slab(shape, device, device.type == "cpu" and self._sum.is_too_large(shape), self._sum.keep)
            weights = compute_gaussian(patch, sigma_scale=1 / 8, value_scaling_factor=10, device=device)
            progress = tqdm(slicers, disable=not self.allow_tqdm, leave=False)
            for first, tiles in itertools.groupby(progress, key=_first_row):
                slab.move_to(first)
                for tile in tiles:
                    voxels = image[tile][None].clone(memory_format=torch.contiguous_format).to(self.device)
                    logits = self._internal_maybe_mirror_and_predict(voxels)[0].to(device)
                    logits *= weights
                    slab.add(logits.reshape(classes, rows, *patch[-2:]), weights, tile[2:])
            slab.move_to(data.shape[1])
        finally:
            del image, slab, logits  # an exception would hold them on the device while nnU-Net tries again
        return self._sum.tensor


class _ImagesOnly(ConfigurationManager):
    """nnU-Net's configuration, for a preprocessing whose label map nobody uses."""

    @property
    def resampling_fn_seg(self) -> Any:
        """Leaves it as it is: without a label map of the user's, it only marks where the image is zero."""
        return lambda segmentation, *_: segmentation


def _first_row(tile: tuple[slice | int, ...]) -> int:
    rows = tile[1]  # the first is that of the channels; tiles of a 2D network lie in one row
    return rows if isinstance(rows, int) else rows.start
