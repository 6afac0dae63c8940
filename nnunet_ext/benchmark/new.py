"""A new matrix, from what a user types."""

import json
from collections.abc import Sequence

from nnunet_ext import _startup
from nnunet_ext.benchmark import plan as planning
from nnunet_ext.benchmark.errors import BenchmarkError
from nnunet_ext.benchmark.folders import nnunet_folder
from nnunet_ext.benchmark.matrix import Budget, Dataset, Matrix, check
from nnunet_ext.demo import trainers as demo_trainers
from nnunet_ext.demo.errors import DemoError


def matrix(
    datasets: Sequence[str],
    trainers: Sequence[str],
    folds: Sequence[int],
    configuration: str,
    plans: str,
    protocol: str,
    budget: Budget,
) -> Matrix:
    """The matrix of all `trainers` on all `datasets`.

    Args:
        datasets: nnU-Net's numbers or names, each with `:configuration` and `:protocol` behind it where they differ.
        trainers: names without the suffix of the budget.
        folds: from 0.
        configuration: of data sets that name none.
        plans: name of the plans, for all data sets.
        protocol: of evaluation, for data sets that name none.
        budget: how long to train.

    Raises:
        BenchmarkError: if nnU-Net has no such data set or trainer, or the parts do not fit together.
    """
    _startup.register()
    for trainer in trainers:
        if budget.trainer_suffix and trainer.endswith(budget.trainer_suffix):
            raise BenchmarkError(
                f"Give {trainer} without {budget.trainer_suffix}, which --budget {budget.name} appends."
            )
        try:
            demo_trainers.check(trainer + budget.trainer_suffix)
        except DemoError as error:
            raise BenchmarkError(str(error)) from error
    wanted = tuple(dict.fromkeys(folds))
    found = tuple(_dataset(text, configuration, plans, protocol, wanted) for text in datasets)
    made = Matrix(budget, found, tuple(dict.fromkeys(trainers)), wanted)
    try:
        check(made)
    except ValueError as error:
        raise BenchmarkError(f"This matrix cannot be: {error}.") from error
    return made


def _dataset(text: str, configuration: str, plans: str, protocol: str, folds: tuple[int, ...]) -> Dataset:
    name, *own = text.split(":")
    if len(own) > 2:
        raise BenchmarkError(f"{text!r} is no data set; give its number or name, as 4, 4:2d or 4:2d:PROTOCOL.")
    name = _name(name)
    own = [*own, "", ""]
    return Dataset(int(name[7:10]), name, own[0] or configuration, plans, own[1] or protocol, _fewer(name, folds))


def _fewer(name: str, folds: tuple[int, ...]) -> tuple[int, ...]:
    """Those of `folds` that the data set's split has, () for all; where there is no split yet, nnU-Net makes five."""
    splits = nnunet_folder("nnUNet_preprocessed") / name / planning.SPLITS
    if not splits.is_file():
        return ()
    try:
        n_splits = len(json.loads(splits.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise BenchmarkError(f"{splits} cannot be read: {error}.") from error
    there = tuple(fold for fold in folds if fold < n_splits)
    if not there:
        raise BenchmarkError(f"{splits} has the folds 0 to {n_splits - 1}, and none of those that the matrix wants.")
    return () if there == folds else there


def _name(name_or_number: str) -> str:
    """The name of the data set in nnU-Net's folders."""
    from nnunetv2.utilities.dataset_name_id_conversion import convert_id_to_dataset_name

    if name_or_number.isdigit():
        try:
            return str(convert_id_to_dataset_name(int(name_or_number)))
        except RuntimeError as error:
            raise BenchmarkError(str(error).replace("\n", " ")) from error
    if not any((nnunet_folder(f"nnUNet_{part}") / name_or_number).is_dir() for part in ("raw", "preprocessed")):
        raise BenchmarkError(f"Neither nnUNet_raw nor nnUNet_preprocessed holds a data set {name_or_number!r}.")
    return name_or_number
