"""`nnunet-ext bench-scan`: every way to compute the selective scan, measured against every other in one run."""
