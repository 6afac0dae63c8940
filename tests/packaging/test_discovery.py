"""Stock nnU-Net finds our trainers however it and we are installed, and users' own trainers come first."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from environments import Environment
from tiny import tiny_dataset, tiny_plans

pytestmark = pytest.mark.slow

PROBE = Path(__file__).with_name("probe.py")
TRAINERS = ["nnUNetTrainerLKMUNet", "nnUNetTrainerLKMUNetReleased", "nnUNetTrainerLKMUNetNoMamba"]
SHORT = ["5epochs", "20epochs", "50epochs", "100epochs", "250epochs"]
VALIDATE_UNTRAINED = ["999", "3d_fullres", "0", "-tr", "nnUNetTrainerLKMUNet", "-device", "cpu", "--val"]
"""Builds the trainer, then stops at once, with a message of its own, because nothing is trained yet."""


def probe(environment: Environment, *names: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(environment.run("python", PROBE, *names, env=env).stdout.splitlines()[-1])
    return facts


def folder_of(environment: Environment) -> str:
    return environment.run("nnunet-ext", "path").stdout.strip()


@pytest.mark.parametrize("environment", ["wheel", "editable", "nnunet_editable"], indirect=True)
def test_every_trainer_is_found_here_and_in_spawned_children(environment: Environment) -> None:
    facts = probe(environment)
    expected = {name for trainer in TRAINERS for name in [trainer, *(f"{trainer}_{length}" for length in SHORT)]}
    assert expected <= facts["classes"].keys()
    for name, found in facts["classes"].items():
        assert found.startswith("nnunet_ext.trainers.")
        assert found.endswith(f".{name}")
    assert facts["same as imported"]
    assert facts["same again"]
    assert facts["same in child"]
    assert facts["pickles"]


def test_train_command_builds_our_trainer(environment: Environment, tmp_path: Path) -> None:
    done = environment.run("nnUNetv2_train", *VALIDATE_UNTRAINED, env=tiny_dataset(tmp_path), fails=True)
    check_trainer_was_built(environment, done.stdout + done.stderr, tmp_path)


def test_train_module_builds_our_trainer(wheel_environment: Environment, tmp_path: Path) -> None:
    arguments = ["-m", "nnunetv2.run.run_training", *VALIDATE_UNTRAINED]
    done = wheel_environment.run("python", *arguments, env=tiny_dataset(tmp_path), fails=True)
    check_trainer_was_built(wheel_environment, done.stdout + done.stderr, tmp_path)


def check_trainer_was_built(environment: Environment, output: str, tmp_path: Path) -> None:
    assert f"Using trainer 'nnUNetTrainerLKMUNet' from: {folder_of(environment)}\n" in output
    assert "the training is not finished yet" in output
    results = tmp_path / "nnUNet_results" / "Dataset999_Tiny"
    assert list(results.glob("nnUNetTrainerLKMUNet__nnUNetPlans__3d_fullres/fold_0/training_log_*.txt"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nnUNet_results with an untrained model of ours, and an empty folder of images beside it."""
    import torch
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunet_ext.trainers import nnUNetTrainerLKMUNet

    folder = tmp_path_factory.mktemp("model")
    (folder / "images").mkdir()
    results = folder / "nnUNet_results" / "Dataset999_Tiny" / "nnUNetTrainerLKMUNet__nnUNetPlans__3d_fullres"
    (results / "fold_0").mkdir(parents=True)
    plans, dataset = tiny_plans()
    (results / "plans.json").write_text(json.dumps(plans))
    (results / "dataset.json").write_text(json.dumps(dataset))
    manager = PlansManager(plans)
    network = nnUNetTrainerLKMUNet.build_network_architecture(manager, manager.get_configuration("3d_fullres"), 1, 2)
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainerLKMUNet",
        "init_args": {"configuration": "3d_fullres"},
    }
    torch.save(checkpoint, results / "fold_0" / "checkpoint_final.pth")
    return folder


def predict_commands(model: Path, out: Path) -> dict[str, list[str | Path]]:
    trained = model / "nnUNet_results" / "Dataset999_Tiny" / "nnUNetTrainerLKMUNet__nnUNetPlans__3d_fullres"
    common: list[str | Path] = ["-i", model / "images", "-o", out, "-f", "0", "-device", "cpu"]
    return {
        "nnUNetv2_predict": [*common, "-d", "999", "-c", "3d_fullres", "-tr", "nnUNetTrainerLKMUNet"],
        "nnUNetv2_predict_from_modelfolder": [*common, "-m", trained],
    }


@pytest.mark.parametrize("command", ["nnUNetv2_predict", "nnUNetv2_predict_from_modelfolder"])
def test_predict_commands_build_our_network(
    command: str, wheel_environment: Environment, model: Path, tmp_path: Path
) -> None:
    env = tiny_dataset(tmp_path) | {"nnUNet_results": str(model / "nnUNet_results")}
    done = wheel_environment.run(command, *predict_commands(model, tmp_path / "out")[command], env=env)
    # With no images this is said after the network is built and has loaded its weights.
    assert "There are 0 cases in the source folder" in done.stdout
    assert f"Using trainer 'nnUNetTrainerLKMUNet' from: {folder_of(wheel_environment)}\n" in done.stdout


def test_opted_out_only_the_printed_folder_finds_it(wheel_environment: Environment) -> None:
    code = (
        "import os, sys\n"
        "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find\n"
        "try:\n    find('nnUNetTrainerLKMUNet')\nexcept RuntimeError as error:\n    print(error)\n"
        "os.environ['nnUNet_extTrainer'] = sys.argv[1]\n"
        "print(find('nnUNetTrainerLKMUNet'))\n"
    )
    env = {"NNUNET_EXT_NO_AUTOREGISTER": "1"}
    output = wheel_environment.run("python", "-c", code, folder_of(wheel_environment), env=env).stdout
    assert "Could not find requested nnunet trainer nnUNetTrainerLKMUNet" in output
    assert output.splitlines()[-1] == "<class 'nnunet_ext.trainers.lkm_unet.nnUNetTrainerLKMUNet'>"


def test_users_own_trainers_win_and_may_extend_ours(wheel_environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "my_trainers.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "from nnunet_ext import trainers\n"
        "class nnUNetTrainerLKMUNet(nnUNetTrainer): pass\n"
        "class nnUNetTrainerMine(trainers.nnUNetTrainerLKMUNetReleased): pass\n"
    )
    code = (
        "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find\n"
        "for name in ['nnUNetTrainerLKMUNet', 'nnUNetTrainerMine', 'nnUNetTrainerLKMUNetNoMamba']:\n"
        "    found = find(name)\n"
        "    print('FOUND', name, found.__module__, found.__mro__[1].__module__)\n"
    )
    output = wheel_environment.python(code, env={"nnUNet_extTrainer": str(tmp_path)})
    assert [line.split()[1:] for line in output.splitlines() if line.startswith("FOUND")] == [
        ["nnUNetTrainerLKMUNet", "my_trainers", "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"],
        ["nnUNetTrainerMine", "my_trainers", "nnunet_ext.trainers.lkm_unet"],
        ["nnUNetTrainerLKMUNetNoMamba", "nnunet_ext.trainers.lkm_unet", "nnunet_ext.trainers.lkm_unet"],
    ]


def test_broken_kernels_break_no_look_up(wheel_environment: Environment, tmp_path: Path) -> None:
    for name in ["mamba_ssm", "selective_scan_cuda", "causal_conv1d", "causal_conv1d_cuda", "triton"]:
        (tmp_path / f"{name}.py").write_text(f'raise ImportError("{name}.so: undefined symbol: _ZN3c10")\n')
    names = ["nnUNetTrainer_1epoch", "nnUNetTrainerLKMUNet"]
    facts = probe(wheel_environment, *names, env={"PYTHONPATH": str(tmp_path)})
    assert list(facts["classes"]) == names
    assert facts["same in child"]


@pytest.mark.parametrize("flag", ["-I", "-E", "-s", "-B"])
def test_variable_is_set_under_every_flag_that_keeps_site_packages(flag: str, wheel_environment: Environment) -> None:
    value = wheel_environment.python("import os; print(os.environ['nnUNet_extTrainer'])", flag)
    assert value == folder_of(wheel_environment)


def test_users_entries_stay_in_their_order_before_ours(wheel_environment: Environment) -> None:
    ours = folder_of(wheel_environment)
    print_variable = "import os; print(os.environ['nnUNet_extTrainer'])"
    for entries in (["/b", "/a"], ["/b", ours, "/a"], ["", "/b", ""]):
        value = wheel_environment.python(print_variable, env={"nnUNet_extTrainer": os.pathsep.join(entries)})
        kept = [entry for entry in entries if entry]
        assert value.split(os.pathsep) == (kept if ours in kept else [*kept, ours])
