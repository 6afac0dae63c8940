"""What can go wrong, said in one sentence."""


class ConvertError(Exception):
    """The conversion cannot be done; the command prints the sentence and ends with exit code 1."""


class CaseError(Exception):
    """One case cannot be converted; the others can."""
