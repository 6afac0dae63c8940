"""The two errors of an evaluation: one ends it, one ends a case."""


class EvaluationError(Exception):
    """Nothing can be evaluated as asked; one sentence that the user can act on."""


class CaseError(Exception):
    """One case cannot be scored, for a reason in one clause; the other cases go on."""
