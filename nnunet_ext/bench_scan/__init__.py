"""`nnunet-ext bench-scan`: every way to compute the selective scan, measured against every other in one run."""

from nnunet_ext.bench_scan.main import run

__all__ = ["run"]
