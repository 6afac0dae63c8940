"""The U-Mamba trainer, without training."""

from nnunet_ext.architectures import UMambaBot

from .contract import TrainerTester


class TestUMambaBot(TrainerTester):
    name = "nnUNetTrainerUMambaBot"
    network_class = UMambaBot
