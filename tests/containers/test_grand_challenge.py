"""The program of an image for grand-challenge.org, in folders that stand for /input and /output."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from skimage import io

from nnunet_ext.containers import grand_challenge

from .models import random_model, settings, stock_prediction, volume

FUNDUS = {
    "labels": {"background": 0, "disc": [1, 2], "cup": 2},
    "regions_class_order": [1, 2],
}


def _inputs(folder: Path, images: dict[str, SimpleITK.Image], ending: str = ".mha", key: str = "interface") -> Path:
    """As the platform mounts it: an image's folder is not named by its slug alone."""
    entries: list[dict[str, Any]] = [{key: {"slug": "age", "kind": "Integer", "relative_path": "age.json"}, "value": 7}]
    for slug, image in images.items():
        (folder / "images" / slug).mkdir(parents=True)
        SimpleITK.WriteImage(image, folder / "images" / slug / f"9a0e5b{ending}")
        interface = {"slug": f"{slug}-image", "kind": "Image", "relative_path": f"images/{slug}"}
        entries.append({key: interface, "image": {"name": "case"}})
    (folder / "inputs.json").write_text(json.dumps(entries))
    return folder


def _output(folder: Path, ending: str = ".mha") -> SimpleITK.Image:
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()] == [
        f"images/organs/output{ending}"
    ]
    return SimpleITK.ReadImage(folder / "images" / "organs" / f"output{ending}")


def _photograph() -> SimpleITK.Image:
    smooth = [SimpleITK.SmoothingRecursiveGaussian(_flat_noise(seed), 2.0) for seed in range(3)]
    image = SimpleITK.Compose([_eight_bits(channel) for channel in smooth])
    image.SetSpacing((0.5, 0.25))
    return image


def _eight_bits(image: SimpleITK.Image) -> SimpleITK.Image:
    return SimpleITK.Cast(SimpleITK.RescaleIntensity(image, 0, 255), SimpleITK.sitkUInt8)


def _flat_noise(seed: int) -> SimpleITK.Image:
    return SimpleITK.GetImageFromArray(np.random.default_rng(seed).normal(size=(40, 56)).astype(np.float32))


@pytest.mark.parametrize(
    ("reader", "key"),
    [
        ("SimpleITKIO", "interface"),
        ("SimpleITKIOWithReorient", "socket"),
        ("NibabelIO", "interface"),
        ("NibabelIOWithReorient", "interface"),
    ],
)
def test_volumes_as_the_reader_of_the_training_sees_them(
    reader: str, key: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = random_model(tmp_path / "model", reader)
    inputs = _inputs(tmp_path / "input", {"ct": volume()}, key=key)
    assert grand_challenge.run(inputs, tmp_path / "output", settings(model, tmp_path / "home")) == 0
    assert "WARNING" not in capfd.readouterr().err
    labels = _output(tmp_path / "output")
    SimpleITK.WriteImage(volume(), tmp_path / "stock_0000.nii.gz")
    expected = stock_prediction(model, [tmp_path / "stock_0000.nii.gz"], tmp_path / "stock")
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(labels), expected)
    assert labels.GetSpacing() == volume().GetSpacing()
    assert labels.GetOrigin() == volume().GetOrigin()
    assert labels.GetDirection() == volume().GetDirection()


@pytest.mark.parametrize(("given", "written"), [(".tif", ".mha"), (".mha", ".mha"), (".mha", ".tif")])
def test_photographs(given: str, written: str, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", "NaturalImage2DIO", 3, ".png", flat=True, labels=FUNDUS)
    inputs = _inputs(tmp_path / "input", {"color-fundus": _photograph()}, given)
    home = settings(model, tmp_path / "home", ending=written)
    assert grand_challenge.run(inputs, tmp_path / "output", home) == 0
    labels = _output(tmp_path / "output", written)
    io.imsave(tmp_path / "stock_0000.png", SimpleITK.GetArrayFromImage(_photograph()))
    expected = stock_prediction(model, [tmp_path / "stock_0000.png"], tmp_path / "stock")
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(labels), expected)
    if given == written == ".mha":
        assert labels.GetSpacing() == (0.5, 0.25)


def test_a_photograph_for_a_model_with_a_file_per_channel(tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", channels=3, ending=".mha", flat=True)
    inputs = _inputs(tmp_path / "input", {"color-fundus": _photograph()})
    assert grand_challenge.run(inputs, tmp_path / "output", settings(model, tmp_path / "home")) == 0
    files = [tmp_path / f"stock_{channel:04d}.mha" for channel in range(3)]
    for channel, file in enumerate(files):
        SimpleITK.WriteImage(SimpleITK.VectorIndexSelectionCast(_photograph(), channel), file)
    expected = stock_prediction(model, files, tmp_path / "stock")
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(_output(tmp_path / "output")), expected)


def test_several_images_in_the_order_of_the_channels(tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", channels=2)
    inputs = _inputs(tmp_path / "input", {"adc": volume(1), "t2": volume(0)})
    home = settings(model, tmp_path / "home", inputs=["t2-image", "adc"])  # one by its slug, one by its folder
    assert grand_challenge.run(inputs, tmp_path / "output", home) == 0
    files = [tmp_path / f"stock_{channel:04d}.nii.gz" for channel in range(2)]
    for channel, file in enumerate(files):
        SimpleITK.WriteImage(volume(channel), file)
    expected = stock_prediction(model, files, tmp_path / "stock")
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(_output(tmp_path / "output")), expected)


def _refused(inputs: Path, home: Path, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    output = inputs.parent / "output"
    assert grand_challenge.run(inputs, output, home) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not [path for path in output.rglob("*") if path.is_file()]


def test_bad_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = settings(random_model(tmp_path / "model"), tmp_path / "home")
    inputs = _inputs(tmp_path / "input", {"ct": volume()})
    (image,) = (inputs / "images" / "ct").iterdir()
    content = image.read_bytes()

    image.write_bytes(content[: len(content) // 2])
    _refused(inputs, home, "cannot be read", capsys)
    image.write_text("no image")
    _refused(inputs, home, "cannot be read", capsys)
    image.rename(image.with_suffix(".nii"))
    _refused(inputs, home, f"expected one .mha, .tif or .tiff in {image.parent}, found 9a0e5b.nii", capsys)
    for name in ("one.mha", "two.mha"):
        (image.parent / name).write_bytes(content)
    _refused(inputs, home, "found 9a0e5b.nii, one.mha, two.mha", capsys)

    entry = {"interface": {"slug": "ct", "relative_path": "images/../../elsewhere"}}
    (inputs / "inputs.json").write_text(json.dumps([entry]))
    _refused(inputs, home, "leads out of the input folder", capsys)
    (inputs / "inputs.json").write_text("[]")
    _refused(inputs, home, "expected one image in inputs.json, found none", capsys)
    (inputs / "inputs.json").write_text('{"a": 1}')
    _refused(inputs, home, "not what the platform writes", capsys)
    (inputs / "inputs.json").unlink()
    _refused(inputs, home, "inputs.json is missing", capsys)


def test_images_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = settings(random_model(tmp_path / "model"), tmp_path / "home")
    inputs = _inputs(tmp_path / "input", {"ct": volume(), "pet": volume()})
    _refused(inputs, home, "expected one image in inputs.json, found ct-image, pet-image", capsys)
    settings(tmp_path / "model", home, inputs=["mr"])
    _refused(inputs, home, "inputs.json has no image mr, only ct-image, pet-image", capsys)
    settings(tmp_path / "model", home, inputs=["ct", "pet"])
    _refused(inputs, home, "expected 1 channel (channel 0), found 2", capsys)
    settings(tmp_path / "absent", home, inputs=["ct"])
    _refused(inputs, home, "absent is missing: upload the model's tarball", capsys)
    photographs = random_model(tmp_path / "flat", "NaturalImage2DIO", 3, ".png", flat=True, labels=FUNDUS)
    settings(photographs, home, inputs=["ct"])
    _refused(inputs, home, "the model was trained on photographs", capsys)
