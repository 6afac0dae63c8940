"""Models as nnU-Net's own trainer leaves them, with random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_dataset, tiny_plans

AUTHOR = "/home/an author/nnUNet_raw/Dataset999_Tiny"
"""A folder of the author's machine, which nobody else should hear of."""


def trained_model(folder: Path) -> Path:
    """Make a model of two folds below `folder`, with everything that nnU-Net writes beside it; returns its folder."""
    from nnunetv2.postprocessing.remove_connected_components import remove_all_but_largest_component_from_segmentation
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    with pytest.MonkeyPatch.context() as patch:
        for name, value in tiny_dataset(folder).items():
            patch.setenv(name, value)
        plans, dataset = tiny_plans()
        dataset |= {"licence": "CC-BY-SA 4.0", "reference": "http://medicaldecathlon.com"}
        dataset["dataset"] = {"case_1": {"images": [f"{AUTHOR}/imagesTr/case_1_0000.nii.gz"]}}
        preprocessed = folder / "nnUNet_preprocessed" / "Dataset999_Tiny" / "nnUNetPlans_3d_fullres"
        preprocessed.mkdir()
        (preprocessed / "case_1.b2nd").touch()  # the trainer looks at the ending
        for fold in (0, 1):
            torch.manual_seed(fold)
            trainer = nnUNetTrainer(
                {**plans, "continue_training": False}, "3d_fullres", fold, dataset, torch.device("cpu")
            )
            trainer.initialize()
            sum(output.sum() for output in trainer.network(torch.ones(1, 1, 16, 16, 16))).backward()
            trainer.optimizer.step()  # so that there is momentum to leave out
            trainer._best_ema = np.float64(0.5)
            trainer.inference_allowed_mirroring_axes = (0, 1, 2)
            output = Path(trainer.output_folder)
            trainer.save_checkpoint(str(output / "checkpoint_final.pth"))
            (output / "validation").mkdir()
            (output / "validation" / "summary.json").write_text(json.dumps(_summary(0.8 + fold / 10)))
            (output / "progress.png").write_bytes(b"a picture")
            (output / "debug.json").write_text(json.dumps({"hostname": "an-authors-machine"}))
    model = output.parent
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text(json.dumps(dataset))
    (model / "dataset_fingerprint.json").write_text(json.dumps({"spacings": [[1.0, 1.0, 1.0]]}))
    together = model / "crossval_results_folds_0_1"
    together.mkdir()
    (together / "summary.json").write_text(json.dumps(_summary(0.85)))
    # As nnU-Net writes it: labels are numpy's numbers.
    arguments = [{"labels_or_regions": [np.int64(1)], "background_label": 0}]
    from batchgenerators.utilities.file_and_folder_operations import save_pickle

    save_pickle(([remove_all_but_largest_component_from_segmentation], arguments), str(together / "postprocessing.pkl"))
    return model


def _summary(dice: float) -> dict[str, object]:
    case = {
        "prediction_file": f"{AUTHOR}/case_1.nii.gz",
        "reference_file": f"{AUTHOR}/labelsTr/case_1.nii.gz",
        "metrics": {"1": {"Dice": dice}},
    }
    return {"foreground_mean": {"Dice": dice}, "mean": {"1": {"Dice": dice}}, "metric_per_case": [case]}
