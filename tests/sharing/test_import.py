"""`nnunet-ext import-checkpoint`: the authors' weights under their old plans, computed as their code computes them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bomb import Bomb
from tiny import tiny_plans

from nnunet_ext import cli

from ..reference import load_reference, relative_error

INSIDE = Path("Dataset999_Tiny", "nnUNetTrainerLKMUNetReleased__nnUNetPlans__2d")


def _old_plans(config: dict[str, Any]) -> dict[str, Any]:
    """Plans as nnU-Net 2.1 wrote them."""
    plans, _ = tiny_plans()
    configuration = plans["configurations"].pop("3d_fullres")
    del configuration["architecture"]
    n_stages = len(config["strides"])
    plans["configurations"]["2d"] = configuration | {
        "patch_size": config["patch_size"],
        "spacing": [1.0, 1.0],
        "median_image_size_in_voxels": [40.0, 40.0],
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": config["features_per_stage"][0],
        "unet_max_num_features": config["features_per_stage"][-1],
        "n_conv_per_stage_encoder": [config["n_blocks_per_stage"]] * n_stages,
        "n_conv_per_stage_decoder": [config["n_blocks_per_stage_decoder"]] * (n_stages - 1),
        "num_pool_per_axis": [n_stages - 1] * 2,
        "pool_op_kernel_sizes": config["strides"],
        "conv_kernel_sizes": config["kernel_sizes"],
    }
    plans["configurations"]["2d_large_batch"] = {"inherits_from": "2d", "batch_size": 9}
    return plans


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A folder with checkpoint_final.pth, plans.json and dataset.json as the authors' training leaves them."""
    reference = load_reference("lkm_unet_released_2d")
    plans = _old_plans(json.loads(reference["config_json"].tobytes()))
    dataset = tiny_plans()[1] | {"labels": {"background": 0, "kidney": 1, "tumour": 2}}
    weights = {
        name.removeprefix("param."): torch.from_numpy(array)
        for name, array in reference.items()
        if name.startswith("param.")
    }
    twice = {f"decoder.{name}": tensor for name, tensor in weights.items() if name.startswith("encoder.")}
    checkpoint = {
        "network_weights": weights | twice,
        "optimizer_state": {"state": {}, "param_groups": [{"lr": np.float64(0.01)}]},
        "logging": {"ema_fg_dice": [np.float64(0.5)], "train_losses": [np.float32(0.1)]},
        "current_epoch": 1000,
        "init_args": {
            "plans": plans,
            "configuration": "2d",
            "fold": "all",
            "dataset_json": dataset,
            "unpack_dataset": True,
            "device": torch.device("cpu"),
        },
        "trainer_name": "nnUNetTrainerLKMUNet",
        "inference_allowed_mirroring_axes": (0, 1),
    }
    folder = tmp_path / "their training"
    folder.mkdir()
    torch.save(checkpoint, folder / "checkpoint_final.pth")
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    return folder


def _arguments(folder: Path, out: Path) -> list[str]:
    files = ["--plans", str(folder / "plans.json"), "--dataset-json", str(folder / "dataset.json")]
    return ["import-checkpoint", "lkm_unet", str(folder / "checkpoint_final.pth"), *files, str(out)]


def test_stock_prediction_computes_what_the_authors_code_computes(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    monkeypatch.setenv("NNUNET_EXT_SCAN_BACKEND", "torch")  # needs no compilation
    assert cli.main(_arguments(released, tmp_path / "out")) == 0
    predictor = nnUNetPredictor(device=torch.device("cpu"))
    predictor.initialize_from_trained_model_folder(str(tmp_path / "out" / INSIDE), ("all",))
    reference = load_reference("lkm_unet_released_2d")
    with torch.inference_mode():
        output = predictor.network(torch.from_numpy(reference["input"]))
    assert relative_error(output, reference["output.0"]) < 1e-5
    assert predictor.allowed_mirroring_axes == (0, 1)
    assert torch.load(tmp_path / "out" / INSIDE / "fold_all" / "checkpoint_final.pth", weights_only=True)

    plans = json.loads((tmp_path / "out" / INSIDE / "plans.json").read_text())
    for configuration in plans["configurations"].values():
        assert configuration["architecture"]["arch_kwargs"]["features_per_stage"] == [8, 16, 24]
        assert not {"UNet_base_num_features", "inherits_from"} & configuration.keys()
    assert plans["configurations"]["2d_large_batch"]["batch_size"] == 9


def test_several_folds_in_one_model_folder(released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = torch.load(released / "checkpoint_final.pth", weights_only=False)
    files = []
    for fold in (1, 0, 1):
        files.append(released / f"{len(files)}.pth")
        name = "decoder.seg_layers.0.bias"
        weights = checkpoint["network_weights"] | {name: checkpoint["network_weights"][name] + fold}
        changed = {"init_args": checkpoint["init_args"] | {"fold": fold}, "network_weights": weights}
        torch.save(checkpoint | changed, files[-1])
    beside = ["--plans", str(released / "plans.json"), "--dataset-json", str(released / "dataset.json")]
    start, end = ["import-checkpoint", "lkm_unet"], [str(tmp_path / "out"), *beside]
    assert cli.main([*start, *map(str, files), *end]) == 1
    assert capsys.readouterr().err.endswith("2.pth is of fold 1, as one before it: give one checkpoint of each fold\n")
    assert not (tmp_path / "out").exists()
    assert cli.main([*start, *map(str, files[:2]), *end]) == 0
    made = sorted((tmp_path / "out" / INSIDE).glob("fold_*/checkpoint_final.pth"))
    assert [file.parent.name for file in made] == ["fold_0", "fold_1"]
    zero, one = (torch.load(file, weights_only=True)["network_weights"][name] for file in made)
    assert torch.equal(zero + 1, one)


def test_what_was_imported_can_be_exported(released: Path, tmp_path: Path) -> None:
    assert cli.main(_arguments(released, tmp_path / "out")) == 0
    assert cli.main(["export", str(tmp_path / "out" / INSIDE), str(tmp_path / "out.zip")]) == 0


def _refused(released: Path, out: Path, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(_arguments(released, out)) == 1
    said = capsys.readouterr().err
    assert told in said
    assert len(said.splitlines()) == 1
    assert not out.exists()


def test_what_is_no_checkpoint_of_lkm_unet(
    released: Path, bomb: Bomb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = released / "checkpoint_final.pth", tmp_path / "out"
    checkpoint = torch.load(file, weights_only=False)
    weights = checkpoint["network_weights"]
    cases: dict[str, Any] = {
        "it holds posix.mkdir, neither a tensor nor a plain value": checkpoint | {"logging": bomb},
        "is no checkpoint of nnU-Net": weights,
        "is not a checkpoint of LKM-UNet: could not place 1 entries": checkpoint
        | {"network_weights": weights | {"encoder.swin.weight": torch.zeros(1)}},
        "is not a checkpoint of LKM-UNet: none of the 1 entries": checkpoint
        | {"network_weights": {"vit.weight": torch.zeros(1)}},
        "nnU-Net cannot load this model (RuntimeError": checkpoint
        | {"network_weights": {name: tensor for name, tensor in weights.items() if "seg_layers.0" not in name}},
        "is of fold '../0', expected a number or all": checkpoint
        | {"init_args": checkpoint["init_args"] | {"fold": "../0"}},
        "the configuration is '../2d', which cannot be part of": checkpoint
        | {"init_args": checkpoint["init_args"] | {"configuration": "../2d"}},
    }
    for told, content in cases.items():
        torch.save(content, file)
        _refused(released, out, told, capsys)
    file.write_bytes(b"<html>not found</html>")
    _refused(released, out, "is damaged and cannot be read", capsys)
    file.unlink()
    _refused(released, out, "checkpoint_final.pth is missing", capsys)
    assert not bomb.target.exists()


def test_plans_that_nnunet_cannot_convert(released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plans = json.loads((released / "plans.json").read_text())
    plans["configurations"]["2d"]["UNet_class_name"] = "TheirUNet"
    (released / "plans.json").write_text(json.dumps(plans))
    _refused(released, tmp_path / "out", "(RuntimeError: Unknown architecture TheirUNet.", capsys)
    del plans["configurations"]["2d"]["UNet_class_name"]
    layers = {"nonlin": "torch.nn.parallel.distributed.os.mkdir", "nonlin_kwargs": {"path": str(tmp_path / "made")}}
    plans["configurations"]["2d"]["architecture"] = {"arch_kwargs": layers, "_kw_requires_import": ["nonlin"]}
    (released / "plans.json").write_text(json.dumps(plans))
    _refused(
        released,
        tmp_path / "out",
        "distributed.os.mkdir' as nonlin of 2d: here that is no layer",
        capsys,
    )
    assert not (tmp_path / "made").exists()
    shutil.copy(released / "checkpoint_final.pth", released / "plans.json")
    _refused(released, tmp_path / "out", "plans.json is no JSON file", capsys)
