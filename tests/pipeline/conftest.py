"""Real data sets, planned and preprocessed once for all tests that train on them."""

from pathlib import Path
from typing import Any

import pytest

from .stock import StockNnUNet, copy_cases, real_dataset, relabel


@pytest.fixture(scope="session")
def hippocampus(tmp_path_factory: pytest.TempPathFactory) -> StockNnUNet:
    """Data set 4, ten real MR cases and two unseen ones, planned small for 3d_fullres."""
    nnunet = StockNnUNet(tmp_path_factory.mktemp("hippocampus"))
    copy_cases(real_dataset("Hippocampus_MSD04"), nnunet.raw / "Dataset004_Hippocampus", 10, 2)
    nnunet.plan(4, "3d_fullres", (32, 40, 32), [4, 8, 16, 16])
    return nnunet


@pytest.fixture(scope="session")
def regions_and_ignore(hippocampus: StockNnUNet) -> StockNnUNet:
    """Data set 5: the hippocampus as overlapping regions, with a slab that nobody annotated."""
    labels = {
        "labels": {"background": 0, "hippocampus": [1, 2], "posterior": 2, "ignore": 3},
        "regions_class_order": [1, 2],
    }
    relabel(hippocampus.raw / "Dataset004_Hippocampus", hippocampus.raw / "Dataset005_Regions", labels, ignored=3)
    hippocampus.plan(5, "3d_fullres", (32, 40, 32), [4, 8, 16, 16])
    return hippocampus


@pytest.fixture(scope="session")
def cascade_and_ignore(hippocampus: StockNnUNet) -> StockNnUNet:
    """Data set 6: the hippocampus with a slab that nobody annotated, and a cascade."""
    labels = {"labels": {"background": 0, "Anterior": 1, "Posterior": 2, "ignore": 3}}
    relabel(hippocampus.raw / "Dataset004_Hippocampus", hippocampus.raw / "Dataset006_Cascade", labels, ignored=3)
    hippocampus.plan(6, "3d_fullres", (32, 40, 32), [4, 8, 16, 16])

    def add_cascade(plans: dict[str, Any]) -> None:
        full = plans["configurations"]["3d_fullres"]
        plans["configurations"]["3d_lowres"] = {
            "inherits_from": "3d_fullres",
            "data_identifier": "nnUNetPlans_3d_lowres",
            "spacing": [1.5 * s for s in full["spacing"]],
            "median_image_size_in_voxels": [s / 1.5 for s in full["median_image_size_in_voxels"]],
            "next_stage": "3d_cascade_fullres",
        }
        plans["configurations"]["3d_cascade_fullres"] = {
            "inherits_from": "3d_fullres",
            "previous_stage": "3d_lowres",
        }

    hippocampus.edit_plans(6, add_cascade)
    hippocampus("nnUNetv2_preprocess", "-d", 6, "-c", "3d_lowres", "-np", 1)
    return hippocampus


@pytest.fixture(scope="session")
def fundus(tmp_path_factory: pytest.TempPathFactory) -> StockNnUNet:
    """Data set 21, ten real colour photographs and two unseen ones, with regions, planned small for 2d."""
    nnunet = StockNnUNet(tmp_path_factory.mktemp("fundus"))
    copy_cases(real_dataset(str(Path("DrishtiGS_fundus", "nnunet_roi256"))), nnunet.raw / "Dataset021_Fundus", 10, 2)
    nnunet.plan(21, "2d", (128, 128), [4, 8, 8, 16, 16, 16])
    return nnunet
