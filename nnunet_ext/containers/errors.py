"""The errors of containers: two end a command, one ends a case."""


class ContainerError(Exception):
    """It cannot be done as asked; one sentence that the user can act on. Exit code 1."""


class UsageError(Exception):
    """Arguments that do not fit each other; one sentence. Exit code 2."""


class CaseError(Exception):
    """One case cannot be predicted, for a reason in one clause; the other cases go on."""
