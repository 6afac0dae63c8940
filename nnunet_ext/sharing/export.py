"""Export of a trained model, for others to install and to predict with."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from nnunet_ext.sharing import card, metrics
from nnunet_ext.sharing.model import Model, check_that_it_predicts, find_trainer, open_model
from nnunet_ext.sharing.plain import CASES, read_json, write_json, write_weights
from nnunet_ext.sharing.postprocessing import safe_copy
from nnunet_ext.sharing.staging import staged, write_zip


def export(
    folder: Path, out: Path, folds: Sequence[str] | None, checkpoint: str, licence: str | None, data: str | None
) -> Path:
    """Write a model folder's weights and what prediction needs beside them, with a model card.

    Args:
        folder: nnUNet_results/DatasetXXX_Name/TRAINER__PLANS__CONFIGURATION.
        out: a new file that ends with ".zip", or a folder that becomes what nnUNet_results can name.
        folds: which; None for all that are there.
        checkpoint: which of a fold's checkpoints.
        licence: of the model.
        data: licence of the data; None for what dataset.json says.

    Returns:
        The zip, or the model's folder in `out`.

    Raises:
        ValueError: if the model cannot be shared; the message says why.
        OSError: if something cannot be written. Nothing of it is left.
    """
    model = open_model(folder, folds, checkpoint)
    trainer = find_trainer(model.trainer)
    summaries = _summaries(folder, model.folds)
    terms = card.Terms(licence, data or card.data_licence(model.dataset))
    is_zip = out.suffix == ".zip"
    target = out if is_zip else out / model.path
    with staged(target) as staging:
        tree = staging / "tree"
        written = tree / model.path
        write_model(model, written)
        for fold, summary in summaries.items():
            _write_validation(folder / f"fold_{fold}", written / f"fold_{fold}", summary)
        _write_beside(folder, written, model.folds)
        check_that_it_predicts(written, model.folds, checkpoint)
        (written / "README.md").write_text(card.text(model, trainer, summaries, terms), encoding="utf-8")
        if is_zip:
            write_zip(tree, staging / "zip")
            os.rename(staging / "zip", target)
        else:
            os.rename(written, target)
    return target


def write_model(model: Model, target: Path) -> None:
    """Write what nnU-Net's predictor reads: plans, data set, and the weights of each fold."""
    target.mkdir(parents=True)
    write_json(model.plans, target / "plans.json")
    write_json({key: value for key, value in model.dataset.items() if key not in CASES}, target / "dataset.json")
    for fold, weights in model.checkpoints.items():
        folder = target / f"fold_{fold}"
        folder.mkdir()
        write_weights(weights, folder / model.checkpoint_name)


def _summaries(folder: Path, folds: Sequence[str]) -> dict[str, metrics.Summary]:
    files = {fold: folder / f"fold_{fold}" / "validation" / "summary.json" for fold in folds}
    return {fold: read_json(file) for fold, file in files.items() if file.is_file()}


def _write_validation(source: Path, target: Path, summary: metrics.Summary) -> None:
    (target / "validation").mkdir()
    write_json(metrics.without_cases(summary), target / "validation" / "summary.json")
    if (source / "progress.png").is_file():
        shutil.copyfile(source / "progress.png", target / "progress.png")


def _write_beside(source: Path, target: Path, folds: Sequence[str]) -> None:
    """The fingerprint, and the postprocessing that was determined on exactly these folds."""
    if (source / "dataset_fingerprint.json").is_file():
        write_json(read_json(source / "dataset_fingerprint.json"), target / "dataset_fingerprint.json")
    together = f"crossval_results_folds_{'_'.join(folds)}"
    if not (source / together).is_dir():
        return
    (target / together).mkdir()
    if (source / together / "summary.json").is_file():
        summary = read_json(source / together / "summary.json")
        write_json(metrics.without_cases(summary), target / together / "summary.json")
    if (source / together / "postprocessing.json").is_file():
        write_json(read_json(source / together / "postprocessing.json"), target / together / "postprocessing.json")
    if (source / together / "postprocessing.pkl").is_file():
        safe_copy(source / together / "postprocessing.pkl", target / together / "postprocessing.pkl")
