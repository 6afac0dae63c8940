"""nnU-Net's planner for our networks: the largest patch, then the largest batch, that fits the memory of a GPU.

nnU-Net shrinks a first patch until an estimate in feature map values fits. Here the estimate is one of bytes (see
`memory`), and afterwards the patch grows as far as the memory allows: nnU-Net's first patch may be too small for a
large GPU, and its way down may pass by sizes that fit. Spacing, normalisation and resampling are nnU-Net's.
"""

import json
from collections.abc import Sequence
from math import ceil, inf
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_ext.planning.estimator import Estimator
from nnunet_ext.planning.memory import GIB
from nnunet_ext.planning.networks import NETWORKS
from nnunet_ext.trainers import base, lkm_unet, meta_mamba_unet, mixed_mlp_unet, mlla_unet, u_mamba

STOCK_PLANS = "nnUNetPlans"

NO_LIMIT_OF_POOLING = 999999
"""nnU-Net's own number."""


PREPROCESSING = (
    "preprocessor_name",
    "spacing",
    "normalization_schemes",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "resampling_fn_seg",
    "resampling_fn_seg_kwargs",
)
"""What preprocessed images depend on."""


class StockPlanner(ExperimentPlanner):
    """nnU-Net's own planner, whose plans stay in memory."""

    def save_plans(self, plans: dict[str, Any]) -> None:
        """Save nothing."""


class ExtPlanner(ExperimentPlanner):
    """Plans for the network of `trainer`; arguments are those of nnU-Net's planner.

    Args:
        dataset_name_or_id: the dataset, of which the fingerprint must exist.
        gpu_memory_target_in_gb: GiB of the GPU that the training may use.
        plans_name: by default nnUNet<network>Plans_<target>G.

    Raises:
        ValueError: no patch fits the memory; the message says how much would do.
    """

    network: ClassVar[str]
    """Its name in `NETWORKS`."""

    trainer: ClassVar[type[base.ExtTrainer]]

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 8,
        preprocessor_name: str = "DefaultPreprocessor",
        plans_name: str | None = None,
        overwrite_target_spacing: list[float] | tuple[float, ...] | None = None,
        suppress_transpose: bool = False,
    ):
        name = plans_name or f"nnUNet{NETWORKS[self.network].title}Plans_{gpu_memory_target_in_gb:g}G"
        arguments = (preprocessor_name, name, overwrite_target_spacing, suppress_transpose)
        super().__init__(dataset_name_or_id, gpu_memory_target_in_gb, *arguments)
        # nnU-Net's rule is "a batch of two fits if the estimate is at most the reference": in units of the target.
        self.UNet_reference_val_2d = self.UNet_reference_val_3d = 1
        self.UNet_reference_val_corresp_GB = gpu_memory_target_in_gb
        self.UNet_reference_val_corresp_bs_2d = self.UNet_reference_val_corresp_bs_3d = self.UNet_min_batch_size
        labels = LabelManager(self.dataset_json["labels"], self.dataset_json.get("regions_class_order"))
        self.foreground_labels = len(labels.foreground_labels)
        channels = self.dataset_json.get("channel_names") or self.dataset_json["modality"]  # the older name
        self.estimator = Estimator(self.trainer, len(channels), labels.num_segmentation_heads)
        self.stock_plans = self._stock_plans()

    def static_estimate_VRAM_usage(  # noqa: N802  # nnU-Net's name; it calls it on the object
        self,
        patch_size: Sequence[int],
        input_channels: int,
        output_channels: int,
        arch_class_name: str,
        arch_kwargs: dict[str, Any],
        arch_kwargs_req_import: tuple[str, ...],
    ) -> float:
        """The share of the target that a batch of two takes, in whole numbers: 1 if it fits, infinity if not."""
        architecture = {"arch_kwargs": arch_kwargs, "_kw_requires_import": arch_kwargs_req_import}
        if self._fits(architecture, patch_size) is not False:
            return 1
        if arch_kwargs["n_stages"] <= 2:
            two = self.UNet_min_batch_size
            needed = self.estimator.memory(architecture, patch_size, two).training(two, patch_size)
            raise ValueError(
                f"a GPU memory target of {self.UNet_vram_target_GB:g} GiB is too small for {self.network}: batches of "
                f"{two} of its smallest patch here, {'x'.join(map(str, patch_size))}, take "
                f"{ceil(10 * needed / GIB) / 10:g} GiB"
            )
        return inf

    def get_plans_for_configuration(
        self,
        spacing: Any,
        median_shape: Any,
        data_identifier: str,
        approximate_n_voxels_dataset: float,
        _cache: dict[str, Any],
    ) -> dict[str, Any]:
        """nnU-Net's plan with our network, and patch and batch as large as fits."""
        common = (data_identifier, approximate_n_voxels_dataset, _cache)
        plan: dict[str, Any] = super().get_plans_for_configuration(spacing, median_shape, *common)
        plan["architecture"]["network_class_name"] = self.trainer.network_class
        plan["architecture"]["arch_kwargs"] |= self.trainer.network_options
        architecture, patch = self._grow(
            plan["architecture"], plan["patch_size"], spacing, median_shape[: len(spacing)]
        )
        covered = approximate_n_voxels_dataset * self.max_dataset_covered / np.prod(patch, dtype=np.float64)
        plan["architecture"], plan["patch_size"] = architecture, patch
        plan["batch_size"] = self._batch(architecture, patch, max(round(covered), self.UNet_min_batch_size))
        plan["data_identifier"] = self._shared_identifier(plan) or data_identifier
        return plan

    def generate_data_identifier(self, configuration_name: str) -> str:
        """The folder of preprocessed images that is our own; `get_plans_for_configuration` shares nnU-Net's."""
        return f"{self.plans_identifier}_{configuration_name}"

    @property
    def plans_file(self) -> Path:
        """Where the plans are saved."""
        return Path(nnUNet_preprocessed, self.dataset_name, f"{self.plans_identifier}.json")

    @property
    def _limit(self) -> float:
        """Bytes of the target."""
        return self.UNet_vram_target_GB * GIB

    def _fits(self, architecture: dict[str, Any], patch: Sequence[int]) -> bool | None:
        """Whether a batch of two fits; None if the network cannot be trained on such a patch."""
        two = self.UNet_min_batch_size
        try:
            if self.estimator.least(architecture, patch).training(two, patch) > self._limit:
                return False
            memory = self.estimator.memory(architecture, patch, two)
        except ValueError:
            return None
        return bool(memory.training(two, patch) <= self._limit)  # numpy's, as the patch is

    def _batch(self, architecture: dict[str, Any], patch: Sequence[int], most: int) -> int:
        """The largest batch up to `most` that is seen to fit, where a batch of two does.

        From too large a batch, the next one is that which fits if its backward pass takes as much.
        """
        two = self.UNet_min_batch_size
        sure = min(most, self.estimator.memory(architecture, patch, two).most_images(patch, self._limit))
        images = min(most, self.estimator.least(architecture, patch).most_images(patch, self._limit))
        while images > sure:
            memory = self.estimator.memory(architecture, patch, images)
            if memory.training(images, patch) <= self._limit:
                return images
            images = memory.most_images(patch, self._limit)
        return max(sure, two)

    def _grow(
        self, architecture: dict[str, Any], patch: Sequence[int], spacing: Sequence[float], shape: Sequence[float]
    ) -> tuple[dict[str, Any], list[int]]:
        """The largest patch up to the images' `shape` that fits, found from `patch` axis by axis; its architecture.

        Where the network cannot be trained on `patch`, the patch becomes larger than the images: nnU-Net pads them.
        """
        trainable = self._fits(architecture, patch) is not None
        grown = True
        while grown:
            grown = False
            # The axis that covers least of the image first.
            for axis in np.argsort(np.asarray(patch) / np.asarray(shape)):
                if patch[axis] >= shape[axis] and trainable:
                    continue
                larger, wider = self._one_step(architecture, patch, int(axis), spacing)
                fits = self._fits(larger, wider)
                if fits or (fits is None and not trainable):
                    architecture, patch, grown = larger, wider, True
                    trainable = fits is not None
                    break
        return architecture, [int(side) for side in patch]

    def _one_step(
        self, architecture: dict[str, Any], patch: Sequence[int], axis: int, spacing: Sequence[float]
    ) -> tuple[dict[str, Any], list[int]]:
        """The next larger patch along an axis that nnU-Net's topology can have, and its architecture."""
        wanted = [int(side) for side in patch]
        wanted[axis] += 1
        settled: list[int] = []
        while settled != wanted:  # a padded patch may allow one more pooling, which may pad it again
            settled = wanted
            _, strides, kernels, padded, _ = get_pool_and_conv_props(
                spacing, settled, self.UNet_featuremap_min_edge_length, NO_LIMIT_OF_POOLING
            )
            wanted = [int(side) for side in padded]
        n_stages = len(strides)
        most = self.UNet_max_features_2d if len(spacing) == 2 else self.UNet_max_features_3d
        topology = {
            "n_stages": n_stages,
            "features_per_stage": [min(most, self.UNet_base_num_features * 2**stage) for stage in range(n_stages)],
            "kernel_sizes": kernels,
            "strides": strides,
            "n_conv_per_stage": self.UNet_blocks_per_stage_encoder[:n_stages],
            "n_conv_per_stage_decoder": self.UNet_blocks_per_stage_decoder[: n_stages - 1],
        }
        return {**architecture, "arch_kwargs": architecture["arch_kwargs"] | topology}, settled

    def _stock_plans(self) -> dict[str, Any]:
        """nnU-Net's own plans for this dataset, planned in memory if they do not exist."""
        file = Path(nnUNet_preprocessed, self.dataset_name, f"{STOCK_PLANS}.json")
        if file.is_file():
            plans: dict[str, Any] = json.loads(file.read_text())
            return plans
        planner = StockPlanner(
            self.dataset_name,
            overwrite_target_spacing=self.overwrite_target_spacing,
            preprocessor_name=self.preprocessor_name,
        )
        return planner.plan_experiment()

    def _shared_identifier(self, plan: dict[str, Any]) -> str | None:
        """The folder of images preprocessed for nnU-Net's plans, where they are the same as for `plan`."""
        for stock in self.stock_plans["configurations"].values():
            if all(_same(stock.get(key), plan[key]) for key in PREPROCESSING):
                identifier: str = stock["data_identifier"]
                return identifier
        return None


def _same(a: Any, b: Any) -> bool:
    """Whether two entries of plans are equal, one of which may have gone through JSON."""
    if isinstance(b, np.ndarray | list | tuple) and len(b) and not isinstance(b[0], str | bool):
        return a is not None and len(a) == len(b) and bool(np.allclose(np.asarray(a), np.asarray(b)))
    return bool(a == b)


class LKMUNetPlanner(ExtPlanner):
    """Plans LKM-UNet."""

    network = "lkm_unet"
    trainer = lkm_unet.nnUNetTrainerLKMUNet


class LKMUNetReleasedPlanner(ExtPlanner):
    """Plans LKM-UNet as its authors' code computes it."""

    network = "lkm_unet_released"
    trainer = lkm_unet.nnUNetTrainerLKMUNetReleased


class LKMUNetNoMambaPlanner(ExtPlanner):
    """Plans LKM-UNet without Mamba."""

    network = "lkm_unet_no_mamba"
    trainer = lkm_unet.nnUNetTrainerLKMUNetNoMamba


class MLLAUNetPlanner(ExtPlanner):
    """Plans MLLA-UNet T."""

    network = "mlla_unet"
    trainer = mlla_unet.nnUNetTrainerMLLAUNet


class MLLAUNetSPlanner(ExtPlanner):
    """Plans MLLA-UNet S."""

    network = "mlla_unet_s"
    trainer = mlla_unet.nnUNetTrainerMLLAUNetS


class MLLAUNetBPlanner(ExtPlanner):
    """Plans MLLA-UNet B."""

    network = "mlla_unet_b"
    trainer = mlla_unet.nnUNetTrainerMLLAUNetB


class MetaMambaUNetPlanner(ExtPlanner):
    """Plans Meta-Mamba MM-UNet."""

    network = "meta_mamba_unet"
    trainer = meta_mamba_unet.nnUNetTrainerMetaMambaUNet


class MetaMambaUNetNoMambaPlanner(ExtPlanner):
    """Plans Meta-Mamba MM-UNet without Mamba."""

    network = "meta_mamba_unet_no_mamba"
    trainer = meta_mamba_unet.nnUNetTrainerMetaMambaUNetNoMamba


class MixedMLPUNetPlanner(ExtPlanner):
    """Plans Mixed-MLP MM-UNet."""

    network = "mixed_mlp_unet"
    trainer = mixed_mlp_unet.nnUNetTrainerMixedMLPUNet


class UMambaBotPlanner(ExtPlanner):
    """Plans U-Mamba Bot."""

    network = "u_mamba_bot"
    trainer = u_mamba.nnUNetTrainerUMambaBot


PLANNERS: dict[str, type[ExtPlanner]] = {planner.network: planner for planner in ExtPlanner.__subclasses__()}
"""The planner of each network of `NETWORKS`."""
