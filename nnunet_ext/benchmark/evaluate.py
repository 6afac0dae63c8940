"""The step that scores a network's folds by the protocol of the data set, where that is not nnU-Net's own."""

import json
import os
import subprocess
from pathlib import Path

from nnunet_ext.benchmark.errors import BenchmarkError
from nnunet_ext.benchmark.folders import nnunet_folder
from nnunet_ext.benchmark.matrix import Evaluation
from nnunet_ext.benchmark.own_command import own_command
from nnunet_ext.benchmark.results import FoldResults
from nnunet_ext.benchmark.scores import older_than_validation
from nnunet_ext.locks import Lock

LOCK = "nnunet_ext_evaluation.lock"


class EvaluationResults:
    """The scores in the validation folders of a network's folds."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation
        self.folds = [FoldResults(fold) for fold in evaluation.folds]
        self.model = nnunet_folder("nnUNet_results") / Path(evaluation.job).parent

    @property
    def lock(self) -> Path:
        """Held by whoever evaluates."""
        return self.model / LOCK

    def is_done(self) -> bool:
        """Whether every fold has scores of all cases, and none was validated anew after them."""
        return all(fold.is_done() and self._has_scores(fold) for fold in self.folds)

    def _has_scores(self, fold: FoldResults) -> bool:
        scores = fold.folder / "validation" / f"evaluation_{self._evaluation.dataset.protocol}.csv"
        summary = scores.with_suffix(".json")  # written last
        try:
            complete = json.loads(summary.read_text(encoding="utf-8"))["complete"] is True
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return complete and scores.is_file() and not older_than_validation(summary)


def evaluate(evaluation: Evaluation) -> None:
    """Score all folds with `nnunet-ext evaluate`.

    Raises:
        BenchmarkError: if a fold is not done or cannot be scored.
        LockedError: if another process is at it.
    """
    results = EvaluationResults(evaluation)
    if missing := [fold.folder.name for fold in results.folds if not fold.is_done()]:
        raise BenchmarkError(f"{results.model} is not evaluated, as {', '.join(missing)} is not done.")
    with Lock(results.lock):
        if results.is_done():
            return
        command = [own_command(), "evaluate", "--protocol", evaluation.dataset.protocol]
        command += ["--results", str(results.model), "-np", os.environ.get("nnUNet_def_n_proc", "1")]
        code = subprocess.run(command).returncode
        # Not the code: it also tells of folds that are in no matrix.
        if not results.is_done():
            raise BenchmarkError(f"`nnunet-ext evaluate` left with {code} and has not scored every fold; see above.")
