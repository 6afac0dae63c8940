"""U-Mamba Bot: a residual U-Net with one Mamba layer at the bottleneck, the cheap control for Mamba networks.

Paper: Ma, Li, Wang, "U-Mamba: Enhancing Long-range Dependency for Biomedical Image Segmentation", arXiv 2401.04722.
Code: github.com/bowang-lab/U-Mamba (March 2024). Written anew from their description.

As in the code: one unidirectional Mamba after a layer normalisation, with 16 states, a convolution of width 4 and
expansion 2, over the bottleneck's voxels in row-major order (the last axis runs fastest); its output replaces the
feature map, with no residual connection around it; the plan's features, kernels and strides.

Different here, because all our residual networks share one skeleton, so that they differ in their Mamba layers only:

| | U-Mamba's code | here |
|---|---|---|
| stem | a residual block with a 1x1 shortcut | a convolution |
| blocks per stage | one in the deeper half, whatever the plan says | the plan's |
| shortcut of a strided block | strided 1x1 convolution in its first block | average pooling, then 1x1 convolution |
| upsampling | nearest neighbour and 1x1 convolution | transposed convolution |
| residual branches start | as He initialisation leaves them | at zero |
| precision of Mamba | float32 from the package's own kernels | float32, result in the dtype of the map |

`LKMUNet(use_pim=False, use_pam=False)` is this network without its Mamba layer.

Nothing else is inferred. U-Mamba Enc, with Mamba in every stage, is not here: where a map has fewer voxels than
channels its weights depend on the patch size.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor, nn

from nnunet_ext.architectures.residual_unet import ResidualUNet
from nnunet_ext.blocks.bidirectional import BidirectionalMamba


class UMambaBot(ResidualUNet):
    """U-Mamba Bot in 2D or 3D; its arguments are those of `UNet`, which are nnU-Net's.

    Raises:
        ValueError: as `UNet`.

    Example:
        >>> network = UMambaBot(1, 2, [8, 16], nn.Conv2d, 3, [1, 2], 2, 2, n_conv_per_stage=2)
        >>> network(torch.zeros(1, 1, 32, 48)).shape
        torch.Size([1, 2, 32, 48])
    """

    def __init__(self, *unet: Any, **unet_options: Any):
        super().__init__(*unet, **unet_options)
        self.encoder.mixers[-1] = WholeMapMamba(self.features[-1])


class WholeMapMamba(nn.Module):
    """Mamba over all voxels of a map; its output replaces the map."""

    def __init__(self, channels: int):
        super().__init__()
        self.mamba = BidirectionalMamba(channels, bidirectional=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *size) -> (B, C, *size), in the dtype of x."""
        tokens = x.flatten(2).transpose(1, 2)  # (B, L, C), the last axis fastest
        return self.mamba(tokens).transpose(1, 2).reshape(x.shape)

    def compute_conv_feature_map_size(self, size: Sequence[int]) -> int:
        """Number of values that the layer keeps for one map of this size."""
        return self.mamba.values_kept(prod(size))
