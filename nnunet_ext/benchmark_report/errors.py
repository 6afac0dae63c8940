"""The one error of the report."""

from nnunet_ext.benchmark.errors import BenchmarkError


class ReportError(BenchmarkError):
    """Something the user can act on, said in one sentence; the command prints it and ends with exit code 1."""
