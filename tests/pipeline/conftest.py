"""Real data sets, planned and preprocessed once for all tests that train on them."""

from pathlib import Path

import pytest

from .stock import StockNnUNet, copy_cases, real_dataset


@pytest.fixture(scope="session")
def hippocampus(tmp_path_factory: pytest.TempPathFactory) -> StockNnUNet:
    """Data set 4, ten real MR cases and two unseen ones, planned small for 3d_fullres."""
    nnunet = StockNnUNet(tmp_path_factory.mktemp("hippocampus"))
    copy_cases(real_dataset("Hippocampus_MSD04"), nnunet.raw / "Dataset004_Hippocampus", 10, 2)
    nnunet.plan(4, "3d_fullres", (32, 40, 32), [4, 8, 16, 16])
    return nnunet


@pytest.fixture(scope="session")
def fundus(tmp_path_factory: pytest.TempPathFactory) -> StockNnUNet:
    """Data set 21, ten real colour photographs and two unseen ones, with regions, planned small for 2d."""
    nnunet = StockNnUNet(tmp_path_factory.mktemp("fundus"))
    copy_cases(real_dataset(str(Path("DrishtiGS_fundus", "nnunet_roi256"))), nnunet.raw / "Dataset021_Fundus", 10, 2)
    nnunet.plan(21, "2d", (128, 128), [4, 8, 8, 16, 16, 16])
    return nnunet
