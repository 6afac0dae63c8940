"""The depthwise causal convolution of the Mamba block: one public function, `naive` is the oracle."""

from nnunet_ext.ops.causal_conv.interface import causal_conv1d

__all__ = ["causal_conv1d"]
