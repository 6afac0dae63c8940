"""LKM-UNet under nnU-Net's standard protocol: as its paper describes it, as its code computes it, and its control.

The authors train with nnU-Net's own recipe (SGD, momentum 0.99; the paper's "Adam with momentum 0.99" has SGD's
values), so there is no recipe of theirs to offer beside it.
"""

from typing import ClassVar

from .base import ExtTrainer, add_short_variants

PAPER = {
    "pim_partition": "window",
    "pam_pool": "window",
    "windows": "derived",
    "use_pim": True,
    "use_pam": True,
    "bidirectional": True,
}


class nnUNetTrainerLKMUNet(ExtTrainer):
    """LKM-UNet as the paper describes it: contiguous windows, window pooling, windows derived from the plan."""

    network_class = "nnunet_ext.architectures.LKMUNet"
    network_options: ClassVar = PAPER

    def initialize(self) -> None:
        """Also write into the training log which windows this plan gives."""
        super().initialize()
        rows = self.bare_network.plan_of_windows(self.configuration_manager.patch_size)
        for row in rows:
            self.print_to_log_file(str(row), add_timestamp=False)
        whole_maps = [f"{row.layer} of stage {row.stage}" for row in rows if row.window is None]
        if whole_maps:
            self.print_to_log_file(
                f"The released windows do not divide this plan's maps for {', '.join(whole_maps)}: there the whole "
                "map is one sequence, as in the authors' code, which takes long. nnUNetTrainerLKMUNet derives windows "
                "that fit."
            )


class nnUNetTrainerLKMUNetReleased(nnUNetTrainerLKMUNet):
    """LKM-UNet exactly as the authors' code computes it: dilated grids, 2^k pooling, fixed windows."""

    network_options: ClassVar = PAPER | {"pim_partition": "grid", "pam_pool": "pow2", "windows": "released"}


class nnUNetTrainerLKMUNetNoMamba(nnUNetTrainerLKMUNet):
    """The same residual U-Net without PiM and PaM: the control that shows what Mamba adds."""

    network_options: ClassVar = PAPER | {"use_pim": False, "use_pam": False}


add_short_variants([nnUNetTrainerLKMUNet, nnUNetTrainerLKMUNetReleased, nnUNetTrainerLKMUNetNoMamba], globals())
