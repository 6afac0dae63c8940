"""Small models with random weights for any of nnU-Net's readers, what the stock predictor makes of them, and images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from tiny import tiny_plans

from nnunet_ext.containers.settings import Settings

# Axes that point elsewhere than SimpleITK's and nibabel's, two of them exchanged: no reader may leave them as they are.
DIRECTION = (0.0, -1.0, 0.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0)


def random_model(
    folder: Path,
    reader: str = "SimpleITKIO",
    channels: int = 1,
    ending: str = ".nii.gz",
    flat: bool = False,
    labels: dict[str, Any] | None = None,
) -> Path:
    """Write a model without mirroring, which would hide that axes are turned; returns its folder."""
    plans, dataset = tiny_plans()
    dataset |= {"channel_names": {str(i): f"channel {i}" for i in range(channels)}, "file_ending": ending}
    dataset |= labels or {"labels": {"background": 0, "a": 1, "b": 2, "c": 3}}
    plans["image_reader_writer"] = reader
    plans["foreground_intensity_properties_per_channel"] = {str(i): {} for i in range(channels)}
    name = "2d" if flat else "3d_fullres"
    configuration = plans["configurations"].pop("3d_fullres")
    plans["configurations"][name] = _flat(configuration) if flat else configuration
    configuration["normalization_schemes"] = ["ZScoreNormalization"] * channels
    configuration["use_mask_for_norm"] = [False] * channels
    manager = PlansManager(plans)
    torch.manual_seed(0)
    network = nnUNetTrainer.build_network_architecture(
        manager,
        manager.get_configuration(name),
        channels,
        manager.get_label_manager(dataset).num_segmentation_heads,
        enable_deep_supervision=False,
    )
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": name},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    return folder


def _flat(configuration: dict[str, Any]) -> dict[str, Any]:
    for entry in ("patch_size", "median_image_size_in_voxels", "spacing"):
        configuration[entry] = configuration[entry][1:]
    layers = configuration["architecture"]["arch_kwargs"]
    layers |= {"conv_op": "torch.nn.modules.conv.Conv2d", "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d"}
    layers |= {entry: [size[1:] for size in layers[entry]] for entry in ("kernel_sizes", "strides")}
    return configuration


def stock_prediction(model: Path, images: list[Path], target: Path) -> np.ndarray:
    """The labels that nnU-Net's own predictor writes; `target` without the ending of the model's files."""
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,))
    predictor.predict_from_files_sequential([[str(image) for image in images]], [str(target)])
    ending = json.loads((model / "dataset.json").read_text())["file_ending"]
    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(f"{target}{ending}"))
    assert len(np.unique(labels)) > 1, "a prediction with one value proves nothing"
    return labels


def settings(model: Path, home: Path, **changed: Any) -> Path:
    """Write settings.json for a model; returns the folder."""
    home.mkdir(exist_ok=True)
    told: dict[str, Any] = {
        "target": "flare",
        "model": str(model),
        "folds": ["0"],
        "checkpoint": "checkpoint_final.pth",
        "step_size": 0.5,
        "mirroring": True,
        "inputs": [],
        "output": "organs",
        "ending": ".mha",
    }
    Settings(**(told | changed)).write(home)
    return home


def volume(seed: int = 0) -> SimpleITK.Image:
    """Noise, smooth enough to give regions, whose axes lie askew; every number fits into a NIfTI header."""
    noise = np.random.default_rng(seed).normal(size=(20, 28, 24)).astype(np.float32)
    image = SimpleITK.SmoothingRecursiveGaussian(SimpleITK.GetImageFromArray(noise), 1.0)
    image.SetSpacing((0.75, 1.25, 1.5))
    image.SetOrigin((-12.5, 40.25, 7.0))
    image.SetDirection(DIRECTION)
    return image
