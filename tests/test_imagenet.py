"""MLLA's ImageNet weights: found, checked, and loaded into a 2D MLLA-UNet."""

import copy
import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nnunet_ext import imagenet
from nnunet_ext.architectures import MLLAUNet

from .helpers.mlla import classifier

TINY = {"embed_dim": 8, "depths": (2, 2, 3, 2), "num_heads": (1, 2, 2, 4)}
DEEPER = {**TINY, "depths": (2, 2, 4, 2)}


@pytest.fixture(autouse=True)
def small_sizes_and_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet, "SIZES", {"T": TINY, "S": DEEPER})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _network(channels: int = 3, **options: Any) -> MLLAUNet:
    return MLLAUNet(channels, 2, **{**TINY, **options})


def _save(checkpoint: Any, file: Path) -> Path:
    torch.save(checkpoint, file)
    return file


@pytest.fixture
def released(tmp_path: Path) -> tuple[MLLAUNet, Path]:
    """A network, and a file with a classifier of its encoder's weights."""
    network = _network()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network, _save({"model": classifier(network.encoder)}, tmp_path / "MLLA-T.pth")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_encoder_and_the_decoders_blocks_are_filled(released: tuple[MLLAUNet, Path]) -> None:
    source, file = released
    network = _network()
    before = copy.deepcopy(network.decoder)
    log = imagenet.load(network, file)
    for name, tensor in source.encoder.state_dict().items():
        assert torch.equal(network.encoder.state_dict()[name], tensor), name
    for level, blocks in enumerate(network.decoder.levels):
        for block, of_encoder in zip(blocks, source.encoder.levels[2 - level], strict=False):
            assert all(map(torch.equal, block.state_dict().values(), of_encoder.state_dict().values()))
    for part in ("ups", "reduce", "expand", "seg_layers"):
        old, new = getattr(before, part).state_dict(), getattr(network.decoder, part).state_dict()
        assert all(torch.equal(old[name], new[name]) for name in old)
    assert "size T" in log
    assert _sha256(file) in log
    assert "decoder.expand, decoder.expand_norm, decoder.norm, decoder.reduce, decoder.seg_layers, decoder.ups." in log
    filled = [network.encoder, *network.decoder.levels]
    loaded, total = (sum(p.numel() for m in modules for p in m.parameters()) for modules in (filled, [network]))
    assert f"{loaded / 1e6:.2f} of {total / 1e6:.2f} million parameters" in log


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_a_grey_image_in_all_channels_has_the_same_answer(released: tuple[MLLAUNet, Path], channels: int) -> None:
    source, file = released
    network = _network(channels)
    log = imagenet.load(network, file)
    grey = torch.randn(2, 1, 32, 64)
    torch.testing.assert_close(
        network.encoder.stem.conv1.conv(grey.expand(-1, channels, -1, -1)),
        source.encoder.stem.conv1.conv(grey.expand(-1, 3, -1, -1)),
    )
    assert ("red, green and blue." in log) == (channels == 3)


def test_shallower_and_deeper_decoders_take_what_fits(released: tuple[MLLAUNet, Path]) -> None:
    source, file = released
    for depths in ((1, 1, 1), (3, 2, 1)):
        network = _network(decoder_depths=depths)
        imagenet.load(network, file)
        block, of_encoder = network.decoder.levels[0][0], source.encoder.levels[2][0]
        assert torch.equal(block.in_proj.weight, of_encoder.in_proj.weight)


def test_a_size_that_nobody_published(released: tuple[MLLAUNet, Path], tmp_path: Path) -> None:
    network = _network(depths=(1, 1, 1, 1), decoder_depths=(1, 1, 1))
    file = _save(classifier(network.encoder), tmp_path / "own.pth")
    assert "a size with 8 channels and depths (1, 1, 1, 1)" in imagenet.load(network, file)
    with pytest.raises(ValueError, match=r"own\.pth .* but the network is size T: give the weights of the network's"):
        imagenet.load(_network(), file)


@pytest.mark.parametrize(
    ("of_file", "of_network", "message"),
    [
        (DEEPER, TINY, "holds size S, but the network is size T: use nnUNetTrainerMLLAUNetS, or"),
        (TINY, DEEPER, "holds size T, but the network is size S: use nnUNetTrainerMLLAUNet, or"),
        (TINY, {"embed_dim": 16}, "holds size T, but the network is a size with 16 channels"),
    ],
)
def test_weights_of_another_size(
    of_file: dict[str, Any], of_network: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = _save(classifier(_network(**of_file).encoder), tmp_path / "file.pth")
    with pytest.raises(ValueError, match=message):
        imagenet.load(_network(**of_network), file)


def test_a_network_with_another_normalisation_is_refused(released: tuple[MLLAUNet, Path]) -> None:
    with pytest.raises(ValueError, match=r"does not fit this network \(.* published topology and normalisation"):
        imagenet.load(_network(follow_plan=True), released[1])


def test_a_3d_network_is_refused() -> None:
    imagenet.check_network(_network())
    with pytest.raises(ValueError, match="is 3D: unset the variable for this configuration, or train configuration 2d"):
        imagenet.check_network(_network(conv_op=nn.Conv3d))


def test_files_that_are_no_mlla(released: tuple[MLLAUNet, Path], tmp_path: Path) -> None:
    swin = {"layers.0.blocks.0.attn.qkv.weight": torch.zeros(1), "patch_embed.proj.weight": torch.zeros(1)}
    ours = {"network_weights": released[0].state_dict(), "optimizer_state": {}}
    for checkpoint in (swin, {"model": swin}, ours, {}, torch.zeros(1), [1, 2]):
        file = _save(checkpoint, tmp_path / "file.pth")
        with pytest.raises(ValueError, match=r"file\.pth of NNUNET_EXT_MLLA_IMAGENET is not MLLA's image classifier"):
            imagenet.load(_network(), file)


def test_damaged_files_and_files_with_more_than_weights(released: tuple[MLLAUNet, Path], tmp_path: Path) -> None:
    whole = released[1].read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for content in (whole[: len(whole) // 2], bytes(flipped), b"<html>not found</html>", b""):
        (tmp_path / "file.pth").write_bytes(content)
        with pytest.raises(ValueError, match=r"file\.pth is damaged .* download what NNUNET_EXT_MLLA_IMAGENET names"):
            imagenet.load(_network(), tmp_path / "file.pth")
    file = _save({"model": classifier(_network().encoder), "config": Fraction(1, 2)}, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=r"holds fractions\.Fraction, .* could be code: .* save its weights alone"):
        imagenet.load(_network(), file)


def test_a_file_is_used_where_it_is(
    released: tuple[MLLAUNet, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = released[1]
    assert imagenet.fetch(str(file)) == file
    assert imagenet.fetch(f"{file}#sha256={_sha256(file)}") == file
    monkeypatch.setenv("HOME", str(tmp_path))
    assert imagenet.fetch(f"~/{file.name}") == file
    assert not (tmp_path / "cache").exists()
    with pytest.raises(ValueError, match=f"{file.name} in NNUNET_EXT_MLLA_IMAGENET is not the file of the checksum"):
        imagenet.fetch(f"{file}#sha256={'0' * 64}")
    for missing in (tmp_path / "missing.pth", tmp_path):
        with pytest.raises(ValueError, match=f"NNUNET_EXT_MLLA_IMAGENET is {missing}, but there is no such file"):
            imagenet.fetch(str(missing))


def test_an_address_is_downloaded_once(released: tuple[MLLAUNet, Path], tmp_path: Path) -> None:
    file = released[1]
    content, address = file.read_bytes(), f"{file.as_uri()}#sha256={_sha256(file).upper()}"
    cached = imagenet.fetch(address)
    assert cached.is_relative_to(tmp_path / "cache" / "nnunet_ext")
    assert cached.read_bytes() == content
    file.rename(tmp_path / "away")
    assert imagenet.fetch(address) == cached

    cached.write_bytes(b"damaged")
    with pytest.raises(OSError, match=r"cannot download .* of NNUNET_EXT_MLLA_IMAGENET .* give the path of the file"):
        imagenet.fetch(address)
    (tmp_path / "away").rename(file)
    assert imagenet.fetch(address).read_bytes() == content


def test_addresses_need_the_right_checksum(released: tuple[MLLAUNet, Path], tmp_path: Path) -> None:
    address = released[1].as_uri()
    with pytest.raises(ValueError, match="without a checksum: append #sha256="):
        imagenet.fetch(address)
    with pytest.raises(ValueError, match="has the checksum 'abc', expected the 64 digits"):
        imagenet.fetch(f"{address}#sha256=abc")
    with pytest.raises(ValueError, match=r"is not the file of the checksum \(SHA256 .*, expected 0000"):
        imagenet.fetch(f"{address}#sha256={'0' * 64}")
    assert list((tmp_path / "cache" / "nnunet_ext" / "downloads").iterdir()) == []
