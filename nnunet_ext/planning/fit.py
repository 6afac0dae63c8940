"""Whether a training fits the GPU that it is about to start on."""

from typing import TYPE_CHECKING

from nnunet_ext.planning.estimator import Estimator
from nnunet_ext.planning.memory import GIB
from nnunet_ext.planning.networks import network_of

if TYPE_CHECKING:
    from nnunet_ext.trainers.base import ExtTrainer


def warning(trainer: "ExtTrainer", available: int) -> str | None:
    """What to say before a training that is estimated to need more than `available` bytes; None if it fits."""
    configuration = trainer.configuration_manager
    estimator = Estimator(type(trainer), trainer.num_input_channels, trainer.label_manager.num_segmentation_heads)
    architecture, patch = configuration.configuration["architecture"], configuration.patch_size
    needed = estimator.memory(architecture, patch, trainer.batch_size).training(trainer.batch_size, patch)
    if needed <= available:
        return None
    name = trainer.plans_manager.dataset_name
    network = network_of(type(trainer).__name__)
    command = f"nnunet-ext plan -d {name} --network {network} --gpu-memory {available // GIB}"
    remedy = f"plan for this GPU: {command}" if network else "use plans with a smaller patch or batch"
    return (
        f"This training is estimated to need {needed / GIB:.1f} GiB of GPU memory, and this GPU has "
        f"{available / GIB:.1f} GiB. If it runs out of memory, {remedy}"
    )
