"""The labels are those of nnU-Net's own predictor, to the last voxel."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import write_model
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from numpy.typing import NDArray
from tiny import tiny_plans

from nnunet_ext.inference.loading import load
from nnunet_ext.inference.predictor import Predictor

from .conftest import WriteCase

CPU = torch.device("cpu")


def _stock(model: Path, files: Sequence[Path], step_size: float = 0.5, previous: Path | None = None) -> NDArray[Any]:
    predictor = nnUNetPredictor(step_size, perform_everything_on_device=False, device=CPU, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), None)
    names = [str(file) for file in files]
    folder = None if previous is None else str(previous.parent)
    (labels,) = predictor.predict_from_files_sequential([names], None, folder_with_segs_from_prev_stage=folder)
    return labels


def _check_equal(ours: NDArray[Any], stock: NDArray[Any], least: int = 2) -> None:
    assert ours.dtype == stock.dtype
    np.testing.assert_array_equal(ours, stock)
    assert len(np.unique(stock)) >= least


def _plans(labels: int, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    plans, dataset = tiny_plans()
    configuration = plans["configurations"]["3d_fullres"]
    configuration["architecture"]["arch_kwargs"] |= {
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "kernel_sizes": [[3, 3, 3]] * 2,
        "strides": [[1, 1, 1], [2, 2, 2]],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
    }
    configuration |= {"patch_size": [16, 24, 20], **changes}
    dataset["labels"] = {"background": 0} | {f"organ {number}": number for number in range(1, labels)}
    return plans, dataset


def _two_d(plans: dict[str, Any]) -> None:
    configuration = plans["configurations"].pop("3d_fullres")
    configuration |= {"patch_size": [24, 20], "spacing": [1.1, 0.9]}
    configuration["architecture"]["arch_kwargs"] |= {
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
        "kernel_sizes": [[3, 3]] * 2,
        "strides": [[1, 1], [2, 2]],
    }
    plans["configurations"]["2d"] = configuration


@pytest.mark.parametrize("max_memory", [None, 0], ids=["in memory", "in a file"])
@pytest.mark.parametrize(
    ("labels", "spacing", "changes"),
    [
        (5, (1, 1, 1), {}),
        (5, (0.8, 0.7, 1.3), {}),
        (5, (1.5, 1.3, 1.2), {}),
        (5, (4.0, 0.9, 0.9), {"spacing": [3.5, 1.0, 1.0]}),
        (5, (1.2, 1.0, 5.0), {}),
        (270, (1.3, 1, 1), {}),
    ],
    ids=["no resampling", "finer image", "coarser image", "first axis apart", "last axis apart", "270 classes"],
)
def test_of_planned_spacings(
    labels: int,
    spacing: tuple[float, ...],
    changes: dict[str, Any],
    max_memory: float | None,
    write_case: WriteCase,
    tmp_path: Path,
) -> None:
    model = write_model(tmp_path, *_plans(labels, **changes))
    files = write_case(tmp_path / "images", "case", (21, 30, 37), spacing)
    ours, _ = load(model, max_memory=max_memory).predict_files(files)
    _check_equal(ours, _stock(model, files))


@pytest.mark.parametrize("shape", [(30, 41, 22), (30, 13, 9)], ids=["many tiles", "smaller than the patch"])
def test_of_a_2d_network_with_transposed_axes(shape: tuple[int, ...], write_case: WriteCase, tmp_path: Path) -> None:
    plans, dataset = _plans(4)
    _two_d(plans)
    plans |= {"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]}
    model = write_model(tmp_path, plans, dataset, configuration="2d")
    files = write_case(tmp_path / "images", "case", shape, (1.4, 1.0, 2.0))
    ours, _ = load(model).predict_files(files)
    assert ours.shape == shape
    _check_equal(ours, _stock(model, files))


def test_of_regions_folds_and_mirrored_tiles(write_case: WriteCase, tmp_path: Path) -> None:
    plans, dataset = _plans(4)
    dataset["labels"] = {"background": 0, "all": [1, 2, 3], "core": [2, 3], "inner": 3, "ignore": 4}
    dataset["regions_class_order"] = [1, 2, 3]
    model = write_model(tmp_path, plans, dataset, folds=(0, 1, 2), mirrored_axes=(0, 2))
    files = write_case(tmp_path / "images", "case", (21, 30, 26), (1.2, 0.8, 1.0))
    ours, _ = load(model, max_memory=0).predict_files(files)
    _check_equal(ours, _stock(model, files), least=3)


@pytest.mark.parametrize("step_size", [1.0, 0.3])
def test_of_other_steps(step_size: float, write_case: WriteCase, tmp_path: Path) -> None:
    model = write_model(tmp_path, *_plans(3))
    files = write_case(tmp_path / "images", "case", (32, 30, 26))
    ours, _ = load(model, step_size=step_size).predict_files(files)
    _check_equal(ours, _stock(model, files, step_size))


@pytest.mark.parametrize("axis_apart", [True, False])
def test_of_resampling_by_torch(axis_apart: bool, write_case: WriteCase, tmp_path: Path) -> None:
    options = {"is_seg": False, "force_separate_z": axis_apart, "memefficient_seg_resampling": False}
    changes: dict[str, Any] = {
        f"resampling_fn_{what}": "resample_torch_fornnunet" for what in ("data", "seg", "probabilities")
    }
    changes |= {f"resampling_fn_{what}_kwargs": options for what in ("data", "probabilities")}
    changes["resampling_fn_seg_kwargs"] = options | {"is_seg": True}
    model = write_model(tmp_path, *_plans(5, **changes))
    files = write_case(tmp_path / "images", "case", (21, 30, 26), (1.7, 0.9, 0.9))
    ours, _ = load(model).predict_files(files)
    _check_equal(ours, _stock(model, files))


def test_of_a_cascade(write_case: WriteCase, tmp_path: Path) -> None:
    plans, dataset = _plans(4)
    plans["configurations"]["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    model = write_model(tmp_path, plans, dataset, configuration="3d_cascade_fullres")
    files = write_case(tmp_path / "images", "case", (21, 30, 26), (1.2, 1, 1))
    predictor = load(model)
    image, properties = predictor.plans_manager.image_reader_writer_class().read_images([str(files[0])])
    before = tmp_path / "previous" / "case.nii.gz"
    before.parent.mkdir()
    predictor.write((image[0] > 0).astype(np.uint8) * 2, before, properties)
    ours, _ = predictor.predict_files(files, before)
    _check_equal(ours, _stock(model, files, previous=before))


@pytest.mark.parametrize("classes", [[2], [0, 1, 2]], ids=["one class", "all classes"])
def test_of_a_network_that_gives_nan(classes: list[int], write_case: WriteCase, tmp_path: Path) -> None:
    model = write_model(tmp_path, *_plans(3))
    file = model / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["network_weights"]["decoder.seg_layers.0.bias"][classes] = torch.nan
    torch.save(checkpoint, file)
    files = write_case(tmp_path / "images", "case", (21, 30, 26))
    ours, _ = load(model).predict_files(files)
    _check_equal(ours, _stock(model, files), least=1)


def test_after_a_device_has_run_out_of_memory(
    write_case: WriteCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path, *_plans(3), folds=(0, 1))
    files = write_case(tmp_path / "images", "case", (40, 30, 26))
    predictor = load(model)
    predictor.perform_everything_on_device = True  # nnU-Net then tries twice
    calls: list[bool] = []

    def fails_late_in_the_second_fold(self: Predictor, voxels: torch.Tensor) -> torch.Tensor:
        calls.append(len(calls) == 30)
        if calls[-1]:
            raise torch.OutOfMemoryError("too small")
        return nnUNetPredictor._internal_maybe_mirror_and_predict(self, voxels)

    monkeypatch.setattr(Predictor, "_internal_maybe_mirror_and_predict", fails_late_in_the_second_fold)
    ours, _ = predictor.predict_files(files)
    assert any(calls)
    _check_equal(ours, _stock(model, files))
