"""A model as nnU-Net's own trainer leaves it, with random weights."""

import shutil
from pathlib import Path

import pytest
from bomb import Bomb
from trained import trained_model


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_model(tmp_path_factory.mktemp("sharing"))


@pytest.fixture
def model(_trained: Path, tmp_path: Path) -> Path:
    """A model folder of two folds, for one test alone."""
    copy = tmp_path / "nnUNet_results" / _trained.parent.name / _trained.name
    shutil.copytree(_trained, copy)
    return copy


@pytest.fixture
def bomb(tmp_path: Path) -> Bomb:
    """An object that runs code when a pickle of it is read; see whether its target is there."""
    return Bomb(tmp_path / "the bomb went off")
