"""Meta Mamba UNet: a U-Net with Mamba after two convolutions, inside their residual connection.

Paper: Xie, Yan, Agam, "MM-UNet: Meta Mamba UNet for Medical Image Segmentation", arXiv 2503.17540. No code of its
authors is known, and its full text was not at hand: this network is written from its abstract and captions, and from
reviews and summaries of it. At least six networks are called MM-UNet; `MixedMLPUNet` is another.

Known: a U shape of stem, encoder blocks, bottleneck block and decoder blocks with skip connections, in nnU-Net; the
best block is two convolutions and then one Mamba module, all inside one residual connection; Mamba in the encoder and
the bottleneck is better than in the decoder; the best scan reads the flattened map forwards and backwards at once;
deep supervision by the last three decoder stages, with weights that halve as the resolution halves (see the trainer).

From code: nothing.

Inferred, therefore options with these defaults: stages, features and kernels are the plan's; no Mamba in the stem, at
full resolution; Mamba-1 with U-Mamba's sizes; a layer norm before it; the last axis runs fastest; the two directions
share their projections, not their models, and are summed; norm and nonlinearity follow each convolution, the
nonlinearity the sum; the residual connection of a strided block is a 1x1 convolution.

Also inferred: a block has two convolutions, so a plan of n convolutions per stage gives n / 2 blocks, rounded up (a
residual encoder plan: as many blocks as it says), of which the last one has Mamba. The decoder upsamples by transposed
convolution, and its blocks are those of the encoder without Mamba. Residual branches do not start at zero.

Ours, in 2D and 3D: Mamba runs in float32 and returns the map's dtype; its activations are recomputed in the backward
pass in 3D. The paper has 3D only.

Glossary: MetaSSM, norm, projections and state space model. MetaScan, its scan orders. Meta block, the block's slot.
D, H, W: the map's axes, W the last.
"""

from typing import Any, Literal, get_args

from torch import nn

from nnunet_ext.architectures.options import check_option
from nnunet_ext.architectures.unet import StageShape, UNet
from nnunet_ext.blocks.meta_block import Arrangement, MetaBlock, MetaStage, SkipProjection
from nnunet_ext.blocks.meta_ssm import SSM, Axis, Merge, MetaSSM, Norm, Scan, Share, SSMOptions
from nnunet_ext.blocks.residual import ConvSpec

Where = Literal["encoder+bottleneck", "bottleneck", "decoder", "all"]


class MetaMambaUNet(UNet):
    """Meta Mamba UNet in 2D or 3D.

    Args:
        *unet, **unet_options: the arguments of `UNet`, which are nnU-Net's.
        meta_block: how convolutions and Mamba are arranged, see `MetaBlock`; "cnn" has no Mamba: the control.
        ssm_where: the stages whose last block has Mamba; the others have "cnn" blocks.
        ssm_full_res: whether these may be at full resolution.
        scan, scan_fastest, scan_merge, share_directions, ssm, d_state, d_conv, expand, norm_before_ssm: see
            `SSMOptions`.
        post_act, skip_proj: see `MetaBlock`.
        recompute: recompute Mamba's activations in the backward pass; None, in 3D only.

    Raises:
        ValueError: for unknown options, or if no stage is left that may have Mamba.

    Example:
        >>> network = MetaMambaUNet(
        ...     1, 3, [8, 16, 32], nn.Conv2d, 3, [1, 2, 2], 2, 2, n_conv_per_stage=2, norm_op=nn.InstanceNorm2d
        ... )
        >>> network(torch.zeros(1, 1, 32, 48)).shape
        torch.Size([1, 2, 32, 48])
    """

    def __init__(
        self,
        *unet: Any,
        meta_block: Arrangement = "conv_conv_ssm_in_res",
        ssm_where: Where = "encoder+bottleneck",
        ssm_full_res: bool = False,
        scan: Scan = "bi",
        scan_fastest: Axis = "W",
        scan_merge: Merge = "sum",
        share_directions: Share = "projections",
        ssm: SSM = "mamba1",
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        norm_before_ssm: Norm = "layer",
        post_act: bool = True,
        skip_proj: SkipProjection = "conv1x1",
        recompute: bool | None = None,
        **unet_options: Any,
    ):
        check_option("meta_block", meta_block, get_args(Arrangement))
        check_option("ssm_where", ssm_where, get_args(Where))
        check_option("skip_proj", skip_proj, get_args(SkipProjection))
        options = SSMOptions(
            scan, scan_fastest, scan_merge, share_directions, ssm, d_state, d_conv, expand, norm_before_ssm
        )

        def build(spec: ConvSpec, shape: StageShape, has_ssm: bool) -> nn.Module:
            n_blocks = shape.n_blocks if shape.counts_blocks else -(-shape.n_blocks // 2)
            blocks = []
            for i in range(n_blocks):
                mixes = has_ssm and meta_block != "cnn" and i == n_blocks - 1
                n_axes = len(shape.stride)
                meta_ssm = (
                    MetaSSM(shape.output_channels, n_axes, options, n_axes == 3 if recompute is None else recompute)
                    if mixes
                    else None
                )
                blocks.append(
                    MetaBlock(
                        spec,
                        shape.input_channels if i == 0 else shape.output_channels,
                        shape.output_channels,
                        shape.kernel_size,
                        shape.stride if i == 0 else (1,) * n_axes,
                        meta_block if mixes else "cnn",
                        meta_ssm,
                        post_act,
                        skip_proj,
                    )
                )
            return MetaStage(*blocks)

        def encoder_stage(spec: ConvSpec, shape: StageShape) -> nn.Module:
            bottleneck = shape.stage == shape.n_stages - 1
            chosen = ssm_where in ("encoder+bottleneck", "all") or (ssm_where == "bottleneck" and bottleneck)
            return build(spec, shape, chosen and (shape.stage > 0 or ssm_full_res))

        def decoder_stage(spec: ConvSpec, shape: StageShape) -> nn.Module:
            return build(spec, shape, ssm_where in ("decoder", "all") and (shape.stage > 0 or ssm_full_res))

        super().__init__(*unet, encoder_stage=encoder_stage, decoder_stage=decoder_stage, stem=False, **unet_options)
        if meta_block != "cnn" and not any(isinstance(module, MetaSSM) for module in self.modules()):
            raise ValueError(
                f"ssm_where is {ssm_where!r}, but this plan has only {len(self.strides)} stages and none of them may "
                "have Mamba: use ssm_full_res=True, or another ssm_where"
            )
