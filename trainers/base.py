"""What all our trainers share: they differ from nnU-Net's own only in the network, and they survive preemption."""

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, ClassVar

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunet_ext.blocks.mamba import StateSpaceModel
from nnunet_ext.checkpoints import DamagedFileError, read_checkpoint
from nnunet_ext.ops.precision import backward_without_autocast
from nnunet_ext.ops.selective_scan.registry import choose_backend, why_slow

from .preemption import EXIT_TRY_AGAIN, LeaveAtOnce, Preemption

SAVE_MINUTES = 10
"""A killed job loses at most about this much, and the epoch that it was in."""

LATEST = "checkpoint_latest.pth"

SHORT = {"5epochs": 5, "20epochs": 20, "50epochs": 50, "100epochs": 100, "250epochs": 250}


class ExtTrainer(nnUNetTrainer):
    """nnU-Net's trainer with another network, checkpoints that are never half-written, and an orderly exit.

    Subclasses set the class attributes. Everything else (loss, augmentation, optimiser, 1000 epochs) is nnU-Net's, so
    that networks are compared under one protocol.
    """

    network_class: ClassVar[str]
    """Dotted path of the network, as a plans file would name it."""

    network_options: ClassVar[dict[str, Any]] = {}
    """The network's own options; they win over those in a plans file, because the trainer's name stands for them."""

    deep_supervision: ClassVar[bool] = True
    """Whether training supervises the outputs of lower resolutions too, as nnU-Net's does."""

    epochs: ClassVar[int | None] = None
    """Number of epochs, None for nnU-Net's 1000."""

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's own signature, which it inspects
    ):
        super().__init__(plans, configuration, fold, dataset_json, device)
        if self.epochs is not None:
            self.num_epochs = self.epochs
        self.enable_deep_supervision = self.supervises(len(self.configuration_manager.pool_op_kernel_sizes))
        self.save_every: int  # nnU-Net's, in epochs
        self._preemption = Preemption()
        self._last_save = time.monotonic()

    @classmethod
    def supervises(cls, n_stages: int) -> bool:
        """Whether training has deep supervision with a plan of so many stages."""
        # With one output, of two stages, nnU-Net's weights of deep supervision sum to zero.
        return cls.deep_supervision and n_stages > 2

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """The network for a plan; nnU-Net calls this in training and, on the class alone, in inference.

        Raises:
            ValueError: if the network cannot run on the plan's patches; the message names the remedy.
        """
        network = get_network_from_plans(
            cls.network_class,
            {**configuration_manager.network_arch_init_kwargs, **cls.network_options},
            configuration_manager.network_arch_init_kwargs_req_import,
            num_input_channels,
            num_output_channels,
            allow_init=True,
            deep_supervision=enable_deep_supervision,
        )
        network.check_patch_size(configuration_manager.patch_size)
        return network

    @property
    def bare_network(self) -> Any:
        """The network itself, out of the wrappers of distributed training and of torch.compile."""
        network = self.network.module if self.is_ddp else self.network
        return getattr(network, "_orig_mod", network)

    def on_train_start(self) -> None:
        """nnU-Net's start, after clearing away what a kill while saving left."""
        if self.local_rank == 0:
            for partial in Path(self.output_folder).glob("*.partial"):
                partial.unlink()
        super().on_train_start()
        if self.local_rank == 0 and self.device.type == "cuda":
            self._warn_if_too_large(torch.cuda.get_device_properties(self.device).total_memory)

    def initialize(self) -> None:
        """nnU-Net's initialisation; the log says what computes the scan, if the network has one."""
        if self.is_ddp:
            # Older torch cannot split a compiled graph between GPUs where activations are recomputed.
            torch._dynamo.config.optimize_ddp = False
        backward_without_autocast()
        super().initialize()
        if any(isinstance(module, StateSpaceModel) for module in self.network.modules()):
            # Asked for here, a wrong NNUNET_EXT_SCAN_BACKEND is told before any data is loaded.
            backend = choose_backend("auto", self.device.type, float64=False)
            self.print_to_log_file(f"Selective scan: {backend}")
            if reason := why_slow(backend, self.device.type):
                self.print_to_log_file(f"This scan is slow on a GPU ({reason}); nnunet-ext doctor says what to do.")

    def _warn_if_too_large(self, available: int) -> None:
        """Write into the log if the plan is estimated to need more than `available` bytes of GPU memory."""
        from nnunet_ext.planning import fit

        try:
            warning = fit.warning(self, available)
        except Exception as error:  # an estimate is no reason not to train
            warning = f"The memory that this training needs could not be estimated: {error}"
        if warning is not None:
            self.print_to_log_file(warning)

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """nnU-Net's switch, which it turns on after validation even where there is no deep supervision."""
        super().set_deep_supervision_enabled(enabled and self.enable_deep_supervision)

    def run_training(self) -> None:
        """Train; on SIGTERM or SIGUSR1 save `checkpoint_latest.pth` and leave with `EXIT_TRY_AGAIN`.

        Not with several GPUs: there the parent process, which is nnU-Net's, dies at once and takes the ranks with it.
        """
        if self.is_ddp:
            super().run_training()
            return
        with Preemption() as self._preemption:
            try:
                super().run_training()
            except _AskedToLeave:
                self._save_and_leave()
            except RuntimeError:
                # The signal reaches the data workers too, and nnU-Net stumbles over their end before we look.
                if not self._preemption.requested:
                    raise
                self.print_to_log_file(traceback.format_exc())
                self._save_and_leave()

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step; between two steps is the moment to leave."""
        result: dict[str, Any] = super().train_step(batch)
        self._leave_if_asked()
        return result

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step; between two steps is the moment to leave."""
        result: dict[str, Any] = super().validation_step(batch)
        self._leave_if_asked()
        return result

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """nnU-Net's validation; asked to leave it ends at once, as `--val` or `--c` start it anew."""
        if self._preemption.requested:  # while the last epoch ended
            sys.exit(EXIT_TRY_AGAIN)
        if self.is_ddp:
            super().perform_actual_validation(save_probabilities)
            return
        with LeaveAtOnce():
            super().perform_actual_validation(save_probabilities)

    def on_epoch_end(self) -> None:
        """Save by the clock as well; nnU-Net counts 50 epochs, which can be many hours."""
        every = self.save_every
        if time.monotonic() - self._last_save > 60 * SAVE_MINUTES:
            self.save_every = 1
        super().on_epoch_end()
        self.save_every = every

    def save_checkpoint(self, filename: str) -> None:
        """Write to a temporary name, then rename: a kill leaves the old checkpoint, never half of a new one."""
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)
            return
        partial = f"{filename}.partial"
        super().save_checkpoint(partial)
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, filename)
        if Path(filename).name == LATEST:  # the one that --c continues from
            self._last_save = time.monotonic()

    def load_checkpoint(self, filename_or_checkpoint: str | dict[str, Any]) -> None:
        """Load a checkpoint of this trainer.

        Raises:
            RuntimeError: if the file is damaged, is no nnU-Net checkpoint or holds another network.
        """
        if isinstance(filename_or_checkpoint, str):
            check_checkpoint(Path(filename_or_checkpoint))
        try:
            super().load_checkpoint(filename_or_checkpoint)
        except RuntimeError as error:
            if "state_dict" not in str(error):
                raise
            raise RuntimeError(
                f"{filename_or_checkpoint} holds another network than {type(self).__name__} builds from these plans "
                f"({str(error).splitlines()[-1].strip()}): use the trainer, plans and configuration that wrote it"
            ) from error

    def _leave_if_asked(self) -> None:
        if self._preemption.requested:
            raise _AskedToLeave

    def _save_and_leave(self) -> None:
        # This epoch is repeated after the restart: forget what it has logged and count it as not done.
        for series in self.logger.get_checkpoint().values():
            del series[self.current_epoch :]
        self.current_epoch -= 1
        self.save_checkpoint(os.path.join(self.output_folder, LATEST))
        code = 1 if self.disable_checkpointing else EXIT_TRY_AGAIN
        what = "saved nothing, as checkpointing is disabled" if code == 1 else f"saved {LATEST}; continue with --c"
        self.print_to_log_file(f"Asked to leave: {what}. Exit code {code}.")
        for loader in (self.dataloader_train, self.dataloader_val):
            if hasattr(loader, "_finish"):
                loader._finish()
        sys.exit(code)


class _AskedToLeave(Exception):  # noqa: N818 - not an error
    pass


def check_checkpoint(file: Path) -> None:
    """Raise RuntimeError, in one sentence, if `file` is damaged or is not a checkpoint of nnU-Net."""
    try:
        # Our own and nnU-Net's files hold a torch.device and numpy numbers: what nnU-Net loads itself, it trusts.
        checkpoint = read_checkpoint(file, weights_only=False)
    except DamagedFileError as error:
        raise RuntimeError(f"{error}: delete it, and --c continues from the checkpoint before it") from error
    if not isinstance(checkpoint, dict) or not {"network_weights", "optimizer_state"} <= checkpoint.keys():
        raise RuntimeError(
            f"{file} is not a checkpoint that nnU-Net wrote (it has no network_weights and optimizer_state): "
            "give a checkpoint_*.pth of a training with this trainer"
        )


def add_short_variants(trainers: list[type[ExtTrainer]], namespace: dict[str, Any]) -> None:
    """Put `<trainer>_5epochs`, ... `_250epochs` into the module whose `globals()` are `namespace`."""
    for trainer in trainers:
        for suffix, epochs in SHORT.items():
            name = f"{trainer.__name__}_{suffix}"
            attributes = {"epochs": epochs, "__module__": trainer.__module__, "__qualname__": name}
            attributes["__doc__"] = f"{trainer.__name__} with {epochs} epochs."
            namespace[name] = type(name, (trainer,), attributes)
