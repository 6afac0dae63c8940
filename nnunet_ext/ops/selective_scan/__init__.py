"""The selective scan of Mamba-1: one public function, one file per backend, `naive` is the oracle."""

from nnunet_ext.ops.selective_scan.interface import selective_scan
from nnunet_ext.ops.selective_scan.registry import available_backends, backend_status

__all__ = ["available_backends", "backend_status", "selective_scan"]
