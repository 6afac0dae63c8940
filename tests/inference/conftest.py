"""A model of two channels, and images for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from models import write_model
from scipy.ndimage import gaussian_filter
from tiny import tiny_plans

WriteCase = Callable[..., list[Path]]


@pytest.fixture(scope="session")
def write_case() -> WriteCase:
    """write_case(folder, name, shape, spacing, channels): smooth noise with a border of zeros, one file per channel."""

    def write(
        folder: Path,
        name: str,
        shape: tuple[int, ...] = (30, 36, 33),
        spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
        channels: int = 1,
    ) -> list[Path]:
        """`shape` and `spacing` in the order of the array, z first."""
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for channel in range(channels):
            values = gaussian_filter(np.random.default_rng(channel).normal(size=shape), 2).astype(np.float32)
            values[..., :2] = values[..., -3:] = 0
            image = SimpleITK.GetImageFromArray(values)
            image.SetSpacing(spacing[::-1])
            image.SetOrigin([7.0 * axis for axis in range(len(shape))])
            files.append(folder / f"{name}_{channel:04d}.nii.gz")
            SimpleITK.WriteImage(image, str(files[-1]))
        return files

    return write


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of one fold for two channels and three classes; do not change it."""
    plans, dataset = tiny_plans()
    plans["configurations"]["3d_fullres"]["normalization_schemes"] *= 2
    plans["configurations"]["3d_fullres"]["use_mask_for_norm"] *= 2
    plans["foreground_intensity_properties_per_channel"] = {"0": {}, "1": {}}
    dataset["channel_names"] = {"0": "T1", "1": "T2"}
    dataset["labels"] = {"background": 0, "left": 1, "right": 2}
    return write_model(tmp_path_factory.mktemp("model"), plans, dataset)
