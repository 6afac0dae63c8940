"""The one error of the report."""


class ReportError(Exception):
    """Something the user can act on, said in one sentence; the command prints it and ends with exit code 1."""
