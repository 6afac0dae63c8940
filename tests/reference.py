"""Numeric references of the authors' implementations; they lie beside the repository, not in it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "reference"


def load_reference(name: str) -> dict[str, np.ndarray]:
    """The arrays of `<name>.npz`; skips the test, with the reason, where the file is absent."""
    path = FOLDER / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"the numeric reference shared/reference/{path.name} does not lie beside the repository")
    with np.load(path) as arrays:
        return {key: arrays[key] for key in arrays.files}


def relative_error(value: Tensor, reference: Tensor | np.ndarray) -> float:
    """Norm of the difference over norm of the reference, in float64."""
    value, reference = value.detach().double(), torch.as_tensor(reference).detach().double()
    assert value.shape == reference.shape
    return float((value - reference).norm() / reference.norm().clamp_min(1e-30))
