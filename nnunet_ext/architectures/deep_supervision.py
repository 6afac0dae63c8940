"""The switch of nnU-Net's trainer for deep supervision."""

from torch import nn


class Switchable(nn.Module):
    """A decoder with the switch `deep_supervision`, which nnU-Net turns off for validation and on again.

    Args:
        deep_supervision: its first position.
        has_heads: whether the decoder has the auxiliary heads that deep supervision needs. Without them it stays off,
            as nnU-Net's trainers turn it on after validation even where they train without deep supervision.

    Raises:
        ValueError: where its first position is on, without them.
    """

    def __init__(self, deep_supervision: bool, has_heads: bool):
        super().__init__()
        if deep_supervision and not has_heads:
            raise ValueError(
                "deep_supervision is True, but this network was built without its auxiliary heads: build it with "
                "deep_supervision=True (and auxiliary_heads=True)"
            )
        self._has_heads = has_heads
        self.deep_supervision = deep_supervision

    @property
    def deep_supervision(self) -> bool:
        """Whether `forward` returns the logits of lower resolutions, too."""
        return self._deep_supervision

    @deep_supervision.setter
    def deep_supervision(self, on: bool) -> None:
        self._deep_supervision = on and self._has_heads
