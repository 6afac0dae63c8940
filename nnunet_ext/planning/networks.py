"""The networks that can be planned, by the names that `nnunet-ext plan --network` takes."""

from typing import NamedTuple


class Network(NamedTuple):
    """A network, the trainer that stands for it, and the trainers whose network has the same plan."""

    title: str
    """In the name of its plans, as in nnUNetLKMUNetPlans_24G."""
    trainer: str
    also: tuple[str, ...] = ()


NETWORKS = {
    "lkm_unet": Network("LKMUNet", "nnUNetTrainerLKMUNet"),
    "lkm_unet_released": Network("LKMUNetReleased", "nnUNetTrainerLKMUNetReleased"),
    "lkm_unet_no_mamba": Network("LKMUNetNoMamba", "nnUNetTrainerLKMUNetNoMamba"),
    "mlla_unet": Network("MLLAUNet", "nnUNetTrainerMLLAUNet", ("nnUNetTrainerMLLAUNetReleased",)),
    "mlla_unet_s": Network("MLLAUNetS", "nnUNetTrainerMLLAUNetS"),
    "mlla_unet_b": Network("MLLAUNetB", "nnUNetTrainerMLLAUNetB"),
    "meta_mamba_unet": Network("MetaMambaUNet", "nnUNetTrainerMetaMambaUNet"),
    "meta_mamba_unet_no_mamba": Network("MetaMambaUNetNoMamba", "nnUNetTrainerMetaMambaUNetNoMamba"),
    "mixed_mlp_unet": Network("MixedMLPUNet", "nnUNetTrainerMixedMLPUNet", ("nnUNetTrainerMixedMLPUNetPaper",)),
    "u_mamba_bot": Network("UMambaBot", "nnUNetTrainerUMambaBot"),
}


def network_of(trainer: str) -> str | None:
    """The name of the network that a trainer, or a short variant of it, trains; None for other trainers."""
    for name, network in NETWORKS.items():
        for known in (network.trainer, *network.also):
            if trainer == known or trainer.startswith(f"{known}_"):
                return name
    return None
