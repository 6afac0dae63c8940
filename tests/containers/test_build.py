"""`nnunet-ext container build --dry-run`: what Docker would get."""

import importlib.metadata
import json
import os
import re
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from bomb import PLANTED, Bomb, plant_in_plans

from nnunet_ext import cli
from nnunet_ext.containers import check

from .models import random_model, settings

GRAND_CHALLENGE = ["--target", "grand-challenge", "--output", "organs"]
MODEL_FILES = {"model/dataset.json", "model/plans.json"} | {f"model/fold_{i}/checkpoint_final.pth" for i in (0, 1)}


def _build(*arguments: object) -> int:
    return cli.main(["container", "build", *map(str, arguments)])


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_files_for_flare(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, wheels = tmp_path / "für FLARE", tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "einops-0.8-py3-none-any.whl").write_bytes(b"a wheel")
    (wheels / "notes.txt").write_text("not for the image")
    before = os.umask(0o077)
    try:
        assert _build(model, "--target", "flare", "--dry-run", out, "--wheels", wheels, "--disable-tta") == 0
    finally:
        os.umask(before)
    said = " ".join(capsys.readouterr().out.split())
    assert f"--network none --tag nnunet-ext-flare:latest '{out}'" in said, "a command that a shell takes"
    own = {name for name in _files(out) if re.fullmatch(r"wheels/nnunet_ext-.*-py3-none-any\.whl", name)}
    assert len(own) == 1
    assert _files(out) == own | MODEL_FILES | {
        *("Dockerfile", ".dockerignore", "predict.sh", "settings.json", "constraints.txt"),
        "wheels/einops-0.8-py3-none-any.whl",
    }
    for path in out.rglob("*"):
        assert path.stat().st_mode & (stat.S_IROTH if path.is_file() else stat.S_IXOTH), path
    settings = json.loads((out / "settings.json").read_text())
    assert settings["mirroring"] is False
    assert settings["folds"] == ["0", "1"]
    assert settings["model"] == "/opt/nnunet-ext/model"
    for file in out.glob("model/fold_*/*.pth"):
        assert "optimizer_state" not in torch.load(file, weights_only=True)
        assert file.stat().st_size < 0.7 * (model / file.relative_to(out / "model")).stat().st_size
    subprocess.run(["sh", "-n", out / "predict.sh"], check=True)
    assert b"\r" not in (out / "predict.sh").read_bytes()


def _instructions(folder: Path) -> list[str]:
    text = (folder / "Dockerfile").read_text().replace("\\\n", " ")
    return [re.sub(r" +", " ", line) for line in text.splitlines() if line and not line.startswith("#")]


def test_the_dockerfile_for_flare(model: Path, tmp_path: Path) -> None:
    assert _build(model, "--target", "flare", "--base", "my/base:1.0", "--dry-run", tmp_path / "out") == 0
    lines = _instructions(tmp_path / "out")
    assert lines[0] == "ARG BASE_IMAGE=my/base:1.0"
    assert [line for line in lines if line.startswith("USER")][-1] == "USER 0"
    assert lines[-3:] == [
        'LABEL nnunet-ext.target="flare" nnunet-ext.labels="0 1" nnunet-ext.inputs="" nnunet-ext.output="" '
        'nnunet-ext.ending=".mha" nnunet-ext.tarball=""',
        "ENTRYPOINT []",
        'CMD ["sh", "predict.sh"]',
    ]
    assert "WORKDIR /workspace" in lines
    assert any(re.search(r" --constraint \S+ \S+/nnunet_ext-\S+\.whl$", line) for line in lines)
    assert not any("--no-index" in line for line in lines)


def test_both_of_dockers_builders_understand_it(model: Path, tmp_path: Path) -> None:
    for target in (["--target", "flare"], GRAND_CHALLENGE):
        out = tmp_path / target[1]
        assert _build(model, *target, "--dry-run", out) == 0
        text = (out / "Dockerfile").read_text()
        assert "@" not in text
        assert not re.search(r"--mount|<<|--chmod|--platform", "\n".join(_instructions(out)))
        lines = re.findall(r"^COPY (?!--from)(.*)$", text, re.M)
        copied = {name.rstrip("/") for line in lines for name in line.split()[:-1]}
        allowed = (out / ".dockerignore").read_text().split()
        assert allowed[0] == "*"
        assert {f"!{name}" for name in copied} == set(allowed[1:])
        assert all((out / name).exists() for name in copied)


def test_the_dockerfile_for_grand_challenge(model: Path, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    arguments = [*GRAND_CHALLENGE, "--inputs", "ct-image", "--wheels", wheels, "--dry-run", tmp_path / "out"]
    assert _build(model, *arguments) == 0
    lines = _instructions(tmp_path / "out")
    assert [line for line in lines if line.startswith("USER")][-1] == "USER 1000:1000"
    assert lines[-1].startswith('ENTRYPOINT ["/opt/nnunet-ext/venv/bin/python", "-m"')
    assert 'nnunet-ext.inputs="ct-image" nnunet-ext.output="organs"' in lines[-2]
    assert any(line.endswith("--no-index --no-deps /opt/nnunet-ext/wheels/*.whl") for line in lines)
    assert "predict.sh" not in _files(tmp_path / "out")


def test_the_model_as_a_tarball(model: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.tar.gz", tmp_path / "two.tar.gz"
    assert _build(model, *GRAND_CHALLENGE, "--model-tarball", one, "--dry-run", tmp_path / "out") == 0
    assert _build(model, *GRAND_CHALLENGE, "--model-tarball", two, "--dry-run", tmp_path / "again") == 0
    assert not [name for name in _files(tmp_path / "out") if name.startswith("model/")]
    assert (tmp_path / "out" / "model").is_dir()
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["model"] == "/opt/ml/model"
    with tarfile.open(one) as archive:
        entries = [entry for entry in archive if entry.isfile()]
        assert {f"model/{entry.name}" for entry in entries} == MODEL_FILES
        assert {(entry.uid, entry.uname, entry.mtime) for entry in entries} == {(0, "", 0)}
    assert one.read_bytes() == two.read_bytes()


def test_the_wheel_is_this_version_and_can_be_installed(model: Path, tmp_path: Path) -> None:
    assert _build(model, "--target", "flare", "--dry-run", tmp_path / "out") == 0
    (wheel,) = (tmp_path / "out" / "wheels").iterdir()
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--target", site, wheel], check=True)
    code = (
        "import nnunet_ext.trainers, nnunet_ext.containers.flare as f; print(nnunet_ext.trainers.__file__, f.__file__)"
    )
    # -S: without the start-up files of the environment that runs the tests.
    search = os.pathsep.join([str(site), *(path for path in sys.path if path.endswith("site-packages"))])
    environment = {**os.environ, "PYTHONPATH": search}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert all(Path(file).is_relative_to(site) for file in done.stdout.split()), done.stdout
    assert {"nnunet_ext.pth", "nnunet_ext.start"} <= {path.name for path in site.iterdir()}
    with zipfile.ZipFile(wheel) as archive:
        assert str(Path(cli.__file__).parents[1]).encode() not in b"".join(map(archive.read, archive.namelist()))


def test_a_trainer_of_the_users_own_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "my trainers"
    own.mkdir()
    (own / "mine.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class MyTrainer(nnUNetTrainer): pass\n"
    )
    model = random_model(tmp_path / "model")
    file = model / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(file, weights_only=True) | {"trainer_name": "MyTrainer"}, file)
    arguments = [model, "--target", "flare", "--dry-run", tmp_path / "out"]
    assert _build(*arguments) == 1
    assert "nnU-Net does not find the trainer MyTrainer" in capsys.readouterr().err
    monkeypatch.setenv("nnUNet_extTrainer", str(own))
    assert _build(*arguments) == 0
    assert (tmp_path / "out" / "trainers" / "mine.py").read_bytes() == (own / "mine.py").read_bytes()


def test_a_pickle_bomb_does_not_go_off(
    model: Path, bomb: Bomb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = model / "fold_1" / "checkpoint_final.pth"
    torch.save({**torch.load(file, weights_only=False), "logging": bomb}, file)
    assert _build(model, "--target", "flare", "--dry-run", tmp_path / "out") == 1
    assert "neither a tensor nor a plain value, which could be code" in capsys.readouterr().err
    assert not bomb.target.exists()
    assert not (tmp_path / "out").exists()


def test_plans_that_name_code(model: Path, bomb: Bomb, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant_in_plans(model, bomb.target)
    assert _build(model, "--target", "flare", "--dry-run", tmp_path / "out") == 1
    assert PLANTED in capsys.readouterr().err
    assert not bomb.target.exists()


@pytest.mark.parametrize(
    ("changed", "arguments", "told"),
    [
        (
            {"reader": "NaturalImage2DIO", "flat": True, "channels": 3},
            ["--target", "flare"],
            "FLARE's images are .nii.gz",
        ),
        ({"reader": "Tiff3DIO"}, ["--target", "flare"], "reads .tif, .tiff (nnU-Net's Tiff3DIO)"),
        (
            {"reader": "Tiff3DIO", "ending": ".tif"},
            GRAND_CHALLENGE,
            "reads .tif, .tiff as volumes",
        ),
        ({"channels": 2}, GRAND_CHALLENGE, "has 2 channels (channel 0, channel 1): name the challenge's images"),
        ({}, [*GRAND_CHALLENGE, "--inputs", "a", "b"], "--inputs names 2 images, and the model has 1 channel(s)"),
        ({}, ["--target", "flare", "--wheels", "absent"], "--wheels is absent, which is no folder"),
        ({}, ["--target", "flare", "--base", "a b"], "--base is 'a b', expected an image's name like"),
        ({}, ["--target", "flare", "--base", "x\nRUN evil"], "expected an image's name like"),
        ({}, ["--target", "flare", "--step-size", "0"], "--step-size is 0.0, expected more than 0"),
        ({}, ["--target", "grand-challenge", "--output", "../x"], "'../x' is no name of an input or output"),
    ],
)
def test_what_does_not_fit(
    changed: dict[str, object], arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = random_model(tmp_path / "model", **changed)
    assert _build(model, *arguments, "--dry-run", tmp_path / "out") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_a_cascade(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plans = json.loads((model / "plans.json").read_text())
    plans["configurations"]["3d_lowres"] = dict(plans["configurations"]["3d_fullres"])
    plans["configurations"]["3d_fullres"]["previous_stage"] = "3d_lowres"
    (model / "plans.json").write_text(json.dumps(plans))
    for file in model.glob("fold_*/*.pth"):  # the weights of a network with one more channel
        checkpoint = torch.load(file, weights_only=False)
        weights = checkpoint["network_weights"]
        for name, tensor in weights.items():
            if tensor.ndim == 5 and tensor.shape[1] == 1 and "stages.0" in name:
                weights[name] = tensor.repeat(1, 2, 1, 1, 1)
        torch.save(checkpoint, file)
    assert _build(model, "--target", "flare", "--dry-run", tmp_path / "out") == 1
    assert "is the second stage of a cascade and needs the predictions of 3d_lowres" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--target", "flare", "--output", "organs"], "belong to --target grand-challenge"),
        (["--target", "grand-challenge"], "grand-challenge needs --output"),
        (["--target", "flare", "--dry-run", "x", "--save", "x.tar.gz"], "there is nothing to --save"),
        (["--target", "flare", "--tag", "Team"], "--tag is 'Team', expected small letters"),
        (["--target", "flare", "--tag", "team:v1"], "FLARE runs TEAM:latest, so give team"),
        (
            ["--target", "flare", "--tag", "team", "--save", "other.tar.gz"],
            "that name, or --save team.tar.gz",
        ),
        ([*GRAND_CHALLENGE, "--save", "image.tar"], "--save is image.tar, expected a file that ends with .tar.gz"),
        ([*GRAND_CHALLENGE, "--model-tarball", "m.zip"], "--model-tarball is m.zip, expected"),
    ],
)
def test_wrong_usage(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _build("model", *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_the_check_at_the_end_of_a_build(tmp_path: Path) -> None:
    model = random_model(tmp_path / "model")
    home = settings(model, tmp_path / "home")
    constraints = home / "constraints.txt"
    constraints.write_text(f"nnunetv2=={importlib.metadata.version('nnunetv2')}\n")
    assert check.run(home) is None
    constraints.write_text("nnunetv2==2.7.0\n")
    told = check.run(home)
    assert told is not None
    assert "the model was packed with 2.7.0" in told
    constraints.write_text("")
    (model / "plans.json").unlink()
    with pytest.raises(ValueError, match=r"plans\.json is missing"):
        check.run(home)
    settings(Path("/opt/ml/model"), home)
    assert check.run(home) is None
