"""How the commands call docker, and what they say: with a command that stands for it."""

import gzip
import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import SimpleITK

from nnunet_ext import cli
from nnunet_ext.containers import checks

from .models import volume

FAKE = Path(__file__).with_name("fake_docker.py")
IMAGE = {
    "Os": "linux",
    "Architecture": "amd64",
    "Size": 2 * 10**9,
    "Config": {"User": "1000:1000", "Entrypoint": None, "Labels": {}},
}
FLARE_LABELS = {"nnunet-ext.target": "flare", "nnunet-ext.labels": "0 1"}
GC_LABELS = {
    "nnunet-ext.target": "grand-challenge",
    "nnunet-ext.labels": "0 1",
    "nnunet-ext.inputs": "ct",
    "nnunet-ext.output": "organs",
    "nnunet-ext.ending": ".mha",
    "nnunet-ext.tarball": "",
}


class Docker:
    """The stand-in, on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(FAKE, folder / "fake_docker.py")
        script = folder / "docker"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{folder}/fake_docker.py" "$@"\n')
        script.chmod(0o755)
        self.behave()

    def behave(self, labels: dict[str, str] | None = None, **behaviour: Any) -> None:
        image = IMAGE | {"Config": IMAGE["Config"] | {"Labels": labels}} | behaviour.pop("image", {})
        (self.folder / "behaviour.json").write_text(json.dumps({"image": image} | behaviour))

    def calls(self, *start: str) -> list[list[str]]:
        calls = [json.loads(line) for line in (self.folder / "calls.jsonl").read_text().splitlines()]
        return [call for call in calls if call[: len(start)] == list(start)]

    def inputs(self) -> list[dict[str, int]]:
        return [json.loads(line) for line in (self.folder / "inputs.jsonl").read_text().splitlines()]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("COLUMNS", "200")
    return Docker(tmp_path / "bin")


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Two volumes named as FLARE's, and what a perfect container would write for them."""
    folder = tmp_path / "cases"
    folder.mkdir()
    for seed, name in enumerate(("a case", "b")):
        SimpleITK.WriteImage(volume(seed), folder / f"{name}_0000.nii.gz")
    return folder


def _labels(file: Path, image: SimpleITK.Image | None = None, value: float = 0.5) -> str:
    SimpleITK.WriteImage(SimpleITK.Cast((volume() if image is None else image) > value, SimpleITK.sitkUInt8), file)
    return str(file)


def _test(*arguments: object) -> int:
    return cli.main(["container", "test", *map(str, arguments)])


def test_the_run_of_flare(docker: Docker, cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cases / "b_0000.nii.gz").unlink()
    docker.behave(FLARE_LABELS, outputs={"a case.nii.gz": _labels(tmp_path / "out.nii.gz")})
    assert _test("team:latest", "--input", cases, "--output", tmp_path / "kept", "--cpu") == 0
    (call,) = docker.calls("container", "run")
    inputs, outputs = (call[i + 1] for i, word in enumerate(call) if word == "--volume")
    assert call[4:] == [
        *("--rm", "--network", "none", "--memory", "28g", "--memory-swap", "28g", "--shm-size", "64m"),
        *("--volume", inputs, "--volume", outputs, "team:latest", "/bin/bash", "-c", "sh predict.sh"),
    ]
    assert inputs.endswith(":/workspace/inputs/:ro")
    assert outputs.endswith(":/workspace/outputs/")
    assert docker.inputs() == [{"a case_0000.nii.gz": 0o644}]
    assert (tmp_path / "kept" / "a case.nii.gz").read_bytes() == (tmp_path / "out.nii.gz").read_bytes()
    (row,) = json.loads((tmp_path / "kept" / "results.json").read_text())
    assert row["problems"] == []
    said = capsys.readouterr().out
    assert "pass" in said
    assert "1 of 1 cases pass, without a GPU" in said
    assert "28 GB of memory, 64 MB of shared memory" in said


def test_the_run_of_grand_challenge(docker: Docker, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    SimpleITK.WriteImage(volume(), images / "ein Fall.mha")
    written = {"images/organs/output.mha": _labels(tmp_path / "out.mha")}
    docker.behave(GC_LABELS, outputs=written)
    assert _test("gc", "--input", images, "--memory", "2g", "--output", tmp_path / "kept") == 0
    (call,) = docker.calls("container", "run")
    inputs, outputs = (call[i + 1] for i, word in enumerate(call) if word == "--volume")
    assert call[4:] == [
        *("--rm", "--network", "none", "--memory", "2g", "--memory-swap", "2g", "--shm-size", "128m", "--read-only"),
        *("--cap-drop", "all", "--security-opt", "no-new-privileges", "--pids-limit", "128", "--init"),
        *("--tmpfs", "/tmp:exec", "--volume", inputs, "--volume", outputs, "gc"),
    ]
    assert inputs.endswith(":/input:ro")
    assert outputs.endswith(":/output")
    (found,) = docker.inputs()
    assert set(found.values()) == {0o644}
    image = next(name for name in found if name != "inputs.json")
    assert image.startswith("images/ct/")
    assert image.endswith(".mha")
    assert (tmp_path / "kept" / "ein Fall.mha" / "images" / "organs" / "output.mha").is_file()


def test_folders_as_the_platform_mounts_them(
    docker: Docker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.behave(GC_LABELS | {"nnunet-ext.inputs": "t2 adc"})
    for job in ("job 1", "job 2"):
        entries = []
        for slug in ("adc", "t2"):
            (tmp_path / "jobs" / job / "images" / slug).mkdir(parents=True)
            SimpleITK.WriteImage(volume(), tmp_path / "jobs" / job / "images" / slug / "x.mha")
            entries.append({"interface": {"slug": slug, "relative_path": f"images/{slug}"}})
        (tmp_path / "jobs" / job / "inputs.json").write_text(json.dumps(entries))
    assert _test("gc", "--input", tmp_path / "jobs") == 1
    assert [set(found) for found in docker.inputs()] == [{"inputs.json", "images/adc/x.mha", "images/t2/x.mha"}] * 2
    assert capsys.readouterr().out.count("did not write images/organs/output.mha") == 2
    assert _test("gc", "--input", tmp_path / "jobs" / "job 1") == 1
    assert len(docker.calls("container", "run")) == 3
    shutil.copy(tmp_path / "jobs" / "job 1" / "images" / "t2" / "x.mha", tmp_path / "alone.mha")
    assert _test("gc", "--input", tmp_path) == 1


def _shifted() -> SimpleITK.Image:
    image = volume()
    image.SetOrigin((0.0, 0.0, 0.0))
    return image


def _of_reals(file: Path) -> str:
    SimpleITK.WriteImage(volume(), file)
    return str(file)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda file: _labels(file, _shifted()), "affine ("),
        (lambda file: _labels(file, volume()[:-1]), "size (23, 28, 20) is not the image's (24, 28, 20)"),
        (_of_reals, "holds float32, expected whole numbers"),
        (lambda file: str(file) if file.write_text("no image") else "", "a.nii.gz cannot be read"),
    ],
)
def test_outputs_that_are_wrong(
    write: Any, told: str, docker: Docker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cases").mkdir()
    SimpleITK.WriteImage(volume(), tmp_path / "cases" / "a_0000.nii.gz")
    docker.behave(FLARE_LABELS, outputs={"a.nii.gz": write(tmp_path / "out.nii.gz")})
    assert _test("team", "--input", tmp_path / "cases") == 1
    said = " ".join(capsys.readouterr().out.split())
    assert told in said
    assert "0 of 1 cases pass" in said


def test_labels_and_files_that_nobody_asked_for(
    docker: Docker, cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = SimpleITK.Cast(volume() > 0.5, SimpleITK.sitkUInt8) * 7
    SimpleITK.WriteImage(labels, tmp_path / "out.nii.gz")
    out = str(tmp_path / "out.nii.gz")
    docker.behave(FLARE_LABELS, outputs={"a case.nii.gz": out, "plans.json": out, "tmp/x": out})
    assert _test("team", "--input", cases) == 1
    said = capsys.readouterr().out
    assert "holds the labels 7, allowed are 0, 1" in said
    assert said.count("wrote plans.json, which nobody asked for") == 2
    assert "wrote tmp/x, which nobody asked for" in said
    assert "did not write b.nii.gz" in said
    docker.behave(FLARE_LABELS, outputs={"a case.nii.gz": out})
    (cases / "b_0000.nii.gz").unlink()
    assert _test("team", "--input", cases, "--labels", "0", "7") == 0


def test_containers_that_fail(docker: Docker, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docker.behave(FLARE_LABELS, run=1, says="nnunet-ext: a case: not predicted: cannot be read")
    assert _test("team", "--input", cases) == 1
    assert "exit code 1: nnunet-ext: a case: not predicted: cannot be read" in capsys.readouterr().out
    docker.behave(FLARE_LABELS, run=137)
    assert _test("team", "--input", cases, "--memory", "1g") == 1
    assert "was killed, most likely for using more than 1g of memory" in capsys.readouterr().out
    (cases / "b_0000.nii.gz").unlink()
    docker.behave(FLARE_LABELS, seconds=60)
    assert _test("team", "--input", cases, "--timeout", "0.5") == 1
    assert "was killed after 0.5 s" in capsys.readouterr().out
    (call,) = docker.calls("container", "rm")
    assert call[3] in docker.calls("container", "run")[-1]


def test_a_gpu_is_given_and_measured(docker: Docker, cases: Path, tmp_path: Path) -> None:
    (cases / "b_0000.nii.gz").unlink()
    smi = docker.folder / "nvidia-smi"
    smi.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --list-gpus ]; then echo "GPU 0: A GPU"; exit; fi\n'
        "echo 1000; echo 3000; echo [N/A]; exec sleep 60\n"
    )
    smi.chmod(0o755)
    docker.behave(FLARE_LABELS, seconds=2, outputs={"a case.nii.gz": _labels(tmp_path / "out.nii.gz")})
    assert _test("team", "--input", cases, "--output", tmp_path / "kept") == 0
    (call,) = docker.calls("container", "run")
    assert call[call.index("--gpus") + 1] == "device=0"
    (row,) = json.loads((tmp_path / "kept" / "results.json").read_text())
    assert row["measured"]["gpu_memory"] == 3000
    assert row["measured"]["gpu_area"] == pytest.approx(2000 * row["seconds"])
    assert _test("team", "--input", cases, "--cpu") == 0
    assert "--gpus" not in docker.calls("container", "run")[-1]


def test_a_model_as_a_tarball(docker: Docker, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tarball = tmp_path / "model.tar.gz"
    arguments = [str(model), "--target", "grand-challenge", "--output", "organs", "--model-tarball", str(tarball)]
    assert cli.main(["container", "build", *arguments]) == 0
    docker.behave(GC_LABELS | {"nnunet-ext.tarball": "/opt/ml/model"})
    (tmp_path / "images").mkdir()
    SimpleITK.WriteImage(volume(), tmp_path / "images" / "a.mha")
    capsys.readouterr()
    assert _test("gc", "--input", tmp_path / "images") == 2
    assert "was built without its model: give --model-tarball" in capsys.readouterr().err
    assert _test("gc", "--input", tmp_path / "images", "--model-tarball", tarball) == 1  # nothing was written
    (call,) = docker.calls("container", "run")
    assert any(word.endswith(":/opt/ml/model:ro") for word in call)


def test_a_tarball_that_leads_elsewhere(docker: Docker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import io
    import tarfile

    tarball = tmp_path / "model.tar.gz"
    with tarfile.open(tarball, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../evil"), io.BytesIO())
    docker.behave(GC_LABELS | {"nnunet-ext.tarball": "/opt/ml/model"})
    (tmp_path / "images").mkdir()
    SimpleITK.WriteImage(volume(), tmp_path / "images" / "a.mha")
    assert _test("gc", "--input", tmp_path / "images", "--model-tarball", tarball) == 1
    assert "cannot be extracted" in capsys.readouterr().err
    assert not docker.calls("container", "run")


def test_build_and_save(docker: Docker, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "Team.tar.gz"
    (tmp_path / "wheels").mkdir()
    arguments = ["--target", "flare", "--tag", "team", "--save", str(saved), "--wheels", str(tmp_path / "wheels")]
    assert cli.main(["container", "build", str(model), *arguments]) == 0
    (call,) = docker.calls("build")
    assert call[:-1] == ["build", "--platform", "linux/amd64", "--network", "none", "--tag", "team:latest"]
    assert not Path(call[-1]).exists(), "the context was only needed for the build"
    assert docker.calls("save") == [["save", "team:latest"]]
    assert gzip.decompress(saved.read_bytes()) == b"an image" * 1000
    said = capsys.readouterr().out
    assert "Built: team:latest, 2.00 GB" in said
    assert "Saved: " in said
    assert "3 h for the 50 validation cases" in said


def test_builds_that_fail(docker: Docker, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grand_challenge = [str(model), "--target", "grand-challenge", "--output", "organs"]
    docker.behave(build=1, says="pip: no such wheel")
    assert cli.main(["container", "build", *grand_challenge]) == 1
    assert "docker build failed:\npip: no such wheel" in capsys.readouterr().err
    docker.behave(image={"Config": IMAGE["Config"] | {"User": "root:root"}})
    assert cli.main(["container", "build", *grand_challenge]) == 1
    assert "runs as root, which the platform refuses" in capsys.readouterr().out
    docker.behave(image={"Architecture": "arm64"})
    assert cli.main(["container", "build", *grand_challenge]) == 1
    assert "The image is for linux/arm64" in capsys.readouterr().out
    docker.behave(save=1, says="no space left on device")
    assert cli.main(["container", "build", *grand_challenge, "--save", str(tmp_path / "image.tar.gz")]) == 1
    assert "docker save failed: no space left on device" in capsys.readouterr().err
    assert not list(tmp_path.glob("*image.tar.gz*"))


@pytest.mark.parametrize("step", ["build", "save"])
def test_an_interruption_leaves_nothing_half_written(
    step: str, docker: Docker, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.behave(interrupts=step)
    before = signal.getsignal(signal.SIGTERM)
    arguments = [str(model), "--target", "flare", "--tag", "team", "--save", str(tmp_path / "team.tar.gz")]
    assert cli.main(["container", "build", *arguments]) == 130
    assert "interrupted; nothing half-written is left" in capsys.readouterr().err
    assert not list(tmp_path.glob("*team*"))
    assert signal.getsignal(signal.SIGTERM) == before


def test_without_an_engine_an_image_or_docker(
    docker: Docker, model: Path, cases: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["build", str(model), "--target", "flare"], ["test", "team", "--input", str(cases)]):
        docker.behave(version=1, says="Cannot connect to the Docker daemon")
        assert cli.main(["container", *command]) == 1
        assert "does not answer (Cannot connect to the Docker daemon): start it" in capsys.readouterr().err
    (docker.folder / "behaviour.json").write_text('{"says": "No such image"}')
    assert _test("team", "--input", cases) == 1
    assert "there is no image team (No such image): build it" in capsys.readouterr().err
    monkeypatch.setenv("PATH", "/nowhere")
    assert _test("team", "--input", cases) == 1
    assert "the command docker is not installed" in capsys.readouterr().err


def test_cases_that_cannot_be_given(docker: Docker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    docker.behave(FLARE_LABELS)
    assert _test("team", "--input", tmp_path / "empty") == 1
    assert "holds no case: expected files named CASE_0000.nii.gz" in capsys.readouterr().err
    assert _test("team", "--input", tmp_path / "absent") == 1
    assert "absent, which is no folder" in capsys.readouterr().err
    docker.behave(GC_LABELS)
    assert _test("team", "--input", tmp_path / "empty") == 1
    assert "holds no image (.mha, .tif, .tiff) and no inputs.json" in capsys.readouterr().err
    docker.behave({})
    assert _test("team", "--input", tmp_path / "empty") == 2
    assert "does not say what it was built for: give --target" in capsys.readouterr().err
    assert _test("team", "--input", tmp_path / "empty", "--target", "flare", "--output", tmp_path / "empty") == 2
    assert "which exists: give a new folder" in capsys.readouterr().err


def test_a_link_out_of_the_outputs(tmp_path: Path) -> None:
    SimpleITK.WriteImage(volume(), tmp_path / "image.nii.gz")
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    _labels(tmp_path / "elsewhere.nii.gz")
    (outputs / "a.nii.gz").symlink_to(tmp_path / "elsewhere.nii.gz")
    found = checks.problems(outputs, "a.nii.gz", tmp_path / "image.nii.gz", [0, 1])
    assert found == ["a.nii.gz is no ordinary file"]
