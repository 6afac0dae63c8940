"""`nnunet-ext plan` as a user types it."""

import json
from pathlib import Path
from typing import Any

import pytest

from nnunet_ext import cli
from nnunet_ext.planning.networks import NETWORKS

from . import datasets


@pytest.fixture
def dataset(nnunet_folders: Path) -> Path:
    """Dataset001, geometry of hippocampus; the folder where its plans belong."""
    name = datasets.write(
        datasets.load("hippocampus"), nnunet_folders / "nnUNet_raw", nnunet_folders / "nnUNet_preprocessed"
    )
    return nnunet_folders / "nnUNet_preprocessed" / name


def test_prints_the_plan_beside_nnunets_and_the_next_commands(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", "-d", "1", "--network", "u_mamba_bot", "--gpu-memory", "8", "-np", "3"]) == 0
    printed = capsys.readouterr().out
    plans = json.loads((dataset / "nnUNetUMambaBotPlans_8G.json").read_text())
    patch = plans["configurations"]["3d_fullres"]["patch_size"]
    lines = printed.splitlines()
    rows = [line.split() for line in lines if line.split()[:1] == ["3d_fullres"]]
    assert rows[0][1:4] == ["this", "x".join(map(str, patch)), str(plans["configurations"]["3d_fullres"]["batch_size"])]
    assert rows[1][1:3] == ["nnU-Net's", "40x56x40"]
    assert max(map(len, lines[: lines.index("2d, stages:")])) <= 80
    assert "  stage 0: map " + "x".join(map(str, patch)) in printed
    assert str(dataset / "nnUNetUMambaBotPlans_8G.json") in printed
    assert [line.strip() for line in lines[lines.index("Next:") + 1 :] if line] == [
        "nnUNetv2_preprocess -d 1 -plans_name nnUNetUMambaBotPlans_8G -c 2d 3d_fullres -np 3",
        "nnUNetv2_train 1 2d 0 -tr nnUNetTrainerUMambaBot -p nnUNetUMambaBotPlans_8G",
        "nnUNetv2_train 1 3d_fullres 0 -tr nnUNetTrainerUMambaBot -p nnUNetUMambaBotPlans_8G",
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-d", "1", "--network", "unetr"], "there is no network 'unetr': use one of lkm_unet, "),
        (["-d", "1", "--network", "lkm_unet", "--gpu-memory", "0"], "--gpu-memory is 0, expected GiB of a GPU"),
        (["-d", "1", "--network", "lkm_unet", "--gpu-memory", "inf"], "--gpu-memory is inf, expected GiB of a GPU"),
        (["-d", "1", "--network", "lkm_unet", "-np", "0"], "-np is 0, expected at least one process"),
        (["-d", "77", "--network", "lkm_unet"], "has no dataset for -d 77: give the id or the name"),
        (["-d", "1", "--network", "u_mamba_bot", "--gpu-memory", "1"], "1 GiB is too small for u_mamba_bot: "),
    ],
)
@pytest.mark.usefixtures("dataset")
def test_bad_input_gets_one_sentence(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", *arguments]) == 1
    said = capsys.readouterr().err
    assert told in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", '{"spacings": [[1]], "shapes_after_crop": [[9]]}'])
def test_a_missing_or_damaged_fingerprint(
    dataset: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = dataset / "dataset_fingerprint.json"
    file.unlink() if content is None else file.write_text(content)
    assert cli.main(["plan", "-d", "Dataset001_Planned", "--network", "lkm_unet"]) == 1
    said = capsys.readouterr().err
    assert "nnUNetv2_extract_fingerprint -d 1" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "dataset.json lacks channel_names or modality, labels, file_ending: see nnU-Net's dataset format"),
        ("{", "dataset.json lacks channel_names"),
        ({"channel_names": {"0": "MRI"}, "labels": {"a": 1}, "file_ending": ".nii.gz"}, "labels that nnU-Net refuses"),
        (
            {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"},
            "imagesTr holds no image that ends with .nii.gz",
        ),
    ],
)
@pytest.mark.usefixtures("dataset")
def test_a_broken_description(change: Any, told: str, nnunet_folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = nnunet_folders / "nnUNet_raw" / "Dataset001_Planned" / "dataset.json"
    file.write_text(change if isinstance(change, str) else json.dumps(change))
    assert cli.main(["plan", "-d", "1", "--network", "lkm_unet"]) == 1
    said = capsys.readouterr().err
    assert told in said
    assert str(file.parent) in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "code", "planned", "told"),
    [
        (ValueError("too small"), 1, len(NETWORKS), ["too small"] * len(NETWORKS)),
        (OSError(28, "No space left on device", "plans.json"), 1, 1, ["No space left on device: plans.json"]),
        (KeyboardInterrupt(), 130, 1, ["interrupted; the plans that were printed are written"]),
    ],
)
@pytest.mark.usefixtures("dataset")
def test_all_goes_on_where_it_can(
    error: BaseException,
    code: int,
    planned: int,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begun = []

    def fail(dataset: str, name: str, arguments: object) -> None:
        begun.append(name)
        raise error

    monkeypatch.setattr("nnunet_ext.planning.command._plan_one", fail)
    assert cli.main(["plan", "-d", "1", "--all"]) == code
    assert len(begun) == planned
    assert capsys.readouterr().err.splitlines() == [f"nnunet-ext plan: {sentence}" for sentence in told]


def test_nnunets_folders_are_needed(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("nnUNet_raw")
    assert cli.main(["plan", "-d", "1", "--network", "lkm_unet"]) == 1
    assert "nnUNet_raw is not set" in capsys.readouterr().err
