"""Images of trained models, built and run by a real Docker engine on real CT and fundus photographs."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import one_engine
import pytest
import SimpleITK
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_ext.containers.docker import save

from .stock import StockNnUNet, copy_cases, real_dataset

pytestmark = [pytest.mark.slow, pytest.mark.docker]

TRAINER = "nnUNetTrainerLKMUNetTiny"
BASE = "nnunet-ext-tests:latest"
TELL_OF_KERNELS = ["--env", "NUMBA_DEBUG_CACHE=1"]
AGREEMENT = 0.999
"""Share of equal labels: a container sums in another order, with as many threads as there are CPUs."""


class Docker:
    """The engine, with an image to start from, and the commands on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables: dict[str, str] = {}

    def __enter__(self) -> "Docker":
        try:
            self.variables = one_engine.start(self.folder)
            one_engine.make_base(self.folder, BASE)
        except BaseException:
            one_engine.stop(self.folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        one_engine.stop(self.folder)

    def container(self, nnunet: StockNnUNet, *arguments: object, fails: bool = False) -> str:
        return nnunet("nnunet-ext", "container", *arguments, fails=fails, **self.variables)

    def __call__(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["docker", *map(str, arguments)],
            env={**one_engine.os.environ, **self.variables},
            capture_output=True,
            text=True,
            timeout=300,
        )


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> StockNnUNet:
    """Data set 31, the middle of seven head-neck CT, planned small."""
    nnunet = StockNnUNet(tmp_path_factory.mktemp("ct"))
    folder = nnunet.raw / "Dataset031_HeadNeck"
    copy_cases(real_dataset("OpenKBP_HN_CT"), folder, 5, 2)
    for file in folder.glob("*T[rs]/*.nii.gz"):
        image = SimpleITK.ReadImage(file)
        start = [(size - 40) // 2 for size in image.GetSize()]
        SimpleITK.WriteImage(SimpleITK.RegionOfInterest(image, [40] * 3, start), file)
    nnunet.plan(31, "3d_fullres", (32, 32, 32), [4, 8, 16, 16])
    return nnunet


def test_built_run_and_saved(ct: StockNnUNet, fundus: StockNnUNet, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("images")
    ct.train(31, "3d_fullres", 0, TRAINER)
    fundus.train(21, "2d", 0, TRAINER)
    with Docker(folder / "engine") as docker:
        (folder / "wheels").mkdir()  # none: the base image has what is needed
        _save(docker, folder)
        _flare(docker, ct, folder)
        _grand_challenge(docker, fundus, folder)


def _save(docker: Docker, folder: Path) -> None:
    """Of a small image, as those of models have 5 GB."""
    context = folder / "small"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    docker("build", "--tag", "small", context)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in docker.variables.items():
            patch.setenv(name, value)
        assert save("small:latest", folder / "small.tar.gz") > 0
    docker("image", "rm", "small:latest")
    assert "Loaded image: small:latest" in docker("load", "--input", folder / "small.tar.gz").stdout


def _flare(docker: Docker, nnunet: StockNnUNet, folder: Path) -> None:
    images = next(nnunet.raw.glob("Dataset031_*")) / "imagesTs"
    model = nnunet.model(TRAINER, "3d_fullres")
    expected = nnunet.predict(31, "3d_fullres", 0, TRAINER)
    arguments = ["--target", "flare", "--tag", "team", "--base", BASE, "--wheels", folder / "wheels"]
    docker.container(nnunet, "build", model, *arguments)

    kept = folder / "flare"
    docker.container(nnunet, "test", "team:latest", "--input", images, "--output", kept, "--cpu")
    names = {path.name for path in expected.glob("*.nii.gz")}
    assert {path.name for path in kept.iterdir()} == names | {"results.json"}
    for name in names:
        _agree(SimpleITKIO().read_seg(str(kept / name))[0], SimpleITKIO().read_seg(str(expected / name))[0])
    for row in json.loads((kept / "results.json").read_text()):
        assert row["measured"]["memory"] > 100e6
        assert 0 < row["measured"]["cpu_seconds"] < row["seconds"] * (one_engine.os.cpu_count() or 1)

    # All at once, on a read-only root, with names that shells stumble over and files that are no images.
    inputs, outputs = folder / "inputs", folder / "outputs"
    outputs.mkdir()
    inputs.mkdir()
    image = min(images.iterdir())
    (inputs / "ein Fäll $1_0000.nii.gz").write_bytes(image.read_bytes())
    (inputs / "cut_0000.nii.gz").write_bytes(image.read_bytes()[:5000])
    (inputs / "second channel_0001.nii.gz").write_bytes(image.read_bytes())
    (inputs / "photograph_0000.png").write_bytes(b"no volume")
    volumes = ["--volume", f"{inputs}:/workspace/inputs/:ro", "--volume", f"{outputs}:/workspace/outputs/"]
    start = ["run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp:exec", *TELL_OF_KERNELS, *volumes]
    done = docker(*start, "team:latest", "/bin/bash", "-c", "sh predict.sh")
    assert done.returncode == 1, done.stderr
    _compiled_nothing(done.stdout)
    assert {path.name for path in outputs.iterdir()} == {"ein Fäll $1.nii.gz"}, done.stderr
    for name, why in {
        "cut": "cannot be read",
        "second channel": "channel 0000 is missing",
        "photograph_0000.png": "expected files named CASE_0000.nii.gz",
    }.items():
        assert any(f": {name}: " in line and why in line for line in done.stderr.splitlines()), done.stderr


def _grand_challenge(docker: Docker, nnunet: StockNnUNet, folder: Path) -> None:
    model = nnunet.model(TRAINER, "2d")
    expected = nnunet.predict(21, "2d", 0, TRAINER)
    tarball = folder / "model.tar.gz"
    arguments = ["--target", "grand-challenge", "--output", "disc-and-cup", "--model-tarball", tarball]
    docker.container(nnunet, "build", model, *arguments, "--base", BASE, "--wheels", folder / "wheels", "--tag", "gc")
    start = ["run", "--rm", "--network", "none", "--read-only"]
    assert not docker(*start, "--entrypoint", "ls", "gc", "-A", "/tmp").stdout
    code = (
        "from nnunet_ext.containers import runtime; runtime.prepare()\n"
        "from nnunet_ext.ops.selective_scan.numba_kernels import kernels; kernels()"
    )
    python = ["--entrypoint", "/opt/nnunet-ext/venv/bin/python", "gc", "-c", code]
    _compiled_nothing(docker(*start, "--tmpfs", "/tmp:exec", *TELL_OF_KERNELS, *python).stdout)

    jobs = folder / "jobs"
    jobs.mkdir()
    photographs = sorted((next(nnunet.raw.glob("Dataset021_*")) / "imagesTs").iterdir())
    for photograph, ending in zip(photographs, (".tif", ".mha"), strict=True):
        SimpleITK.WriteImage(SimpleITK.ReadImage(photograph), jobs / (photograph.name.split("_0000")[0] + ending))
    kept = folder / "grand-challenge"
    test = ["test", "gc", "--input", jobs, "--output", kept, "--model-tarball", tarball, "--cpu"]
    docker.container(nnunet, *test)
    for job in jobs.iterdir():
        labels = SimpleITK.ReadImage(kept / job.name / "images" / "disc-and-cup" / "output.mha")
        reference = NaturalImage2DIO().read_seg(str(expected / f"{job.stem}.png"))[0]
        _agree(SimpleITK.GetArrayFromImage(labels)[None, None], reference)

    (jobs / "broken.mha").write_bytes(b"no image")
    test[test.index("--output") + 1] = folder / "again"
    said = docker.container(nnunet, *test, fails=True)
    assert "2 of 3 cases pass" in said


def _compiled_nothing(said: str) -> None:
    """The two kernels came out of the image."""
    assert said.count("[cache] data loaded from") == 2, said
    assert "saved" not in said


def _agree(labels: np.ndarray, expected: Any) -> None:
    assert labels.shape == expected.shape
    assert (labels == expected).mean() > AGREEMENT
