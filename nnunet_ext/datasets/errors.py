"""What can go wrong, said in one sentence."""


class ConvertError(Exception):
    """The conversion cannot be done; the command prints the sentence and ends with exit code 1."""


class CaseError(Exception):
    """One case cannot be converted; the others can."""


def in_one_line(error: Exception) -> str:
    """The kind of an error and all that it says."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
