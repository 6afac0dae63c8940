"""The one error of the benchmark."""


class BenchmarkError(Exception):
    """Something the user can act on, said in one sentence; the command prints it and ends with exit code 1."""
