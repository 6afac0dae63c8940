"""Operations that the networks are built from, each with a slow readable form that proves the fast ones right."""

from nnunet_ext.ops.causal_conv import causal_conv1d
from nnunet_ext.ops.selective_scan import available_backends, backend_status, selective_scan

__all__ = ["available_backends", "backend_status", "causal_conv1d", "selective_scan"]
