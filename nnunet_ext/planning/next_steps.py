"""What follows the planning: preprocessing, and the commands that train."""

from pathlib import Path
from typing import Any

from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess_dataset
from nnunetv2.paths import nnUNet_preprocessed

from nnunet_ext.planning.networks import NETWORKS
from nnunet_ext.planning.planner import ExtPlanner

ORDER = ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres")


def preprocess(planner: ExtPlanner, processes: int) -> None:
    """Preprocess, with nnU-Net, the configurations whose images are not there yet."""
    missing = _missing(planner)
    if missing:
        preprocess_dataset(_number(planner), planner.plans_identifier, missing, [processes])


def commands(planner: ExtPlanner, processes: int) -> list[str]:
    """The commands that preprocess what is missing and train fold 0 of each configuration, in an order that works."""
    number, plans, network = _number(planner), planner.plans_identifier, NETWORKS[planner.network]
    missing = _missing(planner)
    lines = []
    if missing:
        lines.append(f"nnUNetv2_preprocess -d {number} -plans_name {plans} -c {' '.join(missing)} -np {processes}")
    for configuration in ORDER:
        if configuration in planner.plans["configurations"]:
            lines.append(f"nnUNetv2_train {number} {configuration} 0 -tr {network.trainer} -p {plans}")
            if configuration == "3d_cascade_fullres":
                lines[-1] += "  # after all folds of 3d_lowres"
    return lines


def _missing(planner: ExtPlanner) -> list[str]:
    """Configurations without a complete folder of preprocessed images."""
    folder = Path(nnUNet_preprocessed, planner.dataset_name)
    configurations: dict[str, Any] = planner.plans["configurations"]
    return [
        name
        for name in ORDER
        if "data_identifier" in configurations.get(name, {})
        and len(list((folder / configurations[name]["data_identifier"]).glob("*.pkl"))) < len(planner.dataset)
    ]


def _number(planner: ExtPlanner) -> int:
    """The dataset's id, as nnU-Net's commands take it."""
    return int(planner.dataset_name[7:10])
