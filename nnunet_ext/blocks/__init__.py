"""What the networks are made of."""

from nnunet_ext.blocks.bidirectional import BidirectionalMamba
from nnunet_ext.blocks.mamba import Mamba, MambaDirection

__all__ = ["BidirectionalMamba", "Mamba", "MambaDirection"]
