"""MLLA's ImageNet weights as the start of a 2D MLLA-UNet: where the user has them, and what they fill.

The authors of MLLA-UNet start from MLLA's image classifier (github.com/LeapLabTHU/MLLA): all of the encoder, and the
first two blocks of each decoder level from the encoder level beside it. So does this file, on request only.

Refused in 3D: half of the attention heads of these weights look along rows and half along columns, so with a third axis
linear layers too would mean something else. Ours, as the authors' code loses the stem's first kernel for other images:

| channels | first kernel of the stem |
|---|---|
| 3 | the released one, as in the authors' code |
| 1 | the sum over red, green and blue: what the authors' code computes when it repeats a grey image three times |
| others (inferred) | that sum divided by their number, for each channel: equal channels are answered as a grey image |
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from nnunet_ext.architectures.mlla_unet import SIZES, MLLAUNet
from nnunet_ext.cache import download_folder
from nnunet_ext.checkpoints import DamagedFileError, StateDict, convert_state_dict, read_checkpoint
from nnunet_ext.download import ChecksumError, download, file_checksum, verify

VARIABLE = "NNUNET_EXT_MLLA_IMAGENET"
"""Names the weights: a file, or an address with a checksum, `https://...#sha256=<64 digits>`."""

FIRST_KERNEL = "encoder.stem.conv1.conv.weight"


def check_network(network: MLLAUNet) -> None:
    """Raise ValueError, with the remedy, if the weights cannot fill this network."""
    if len(network.strides[0]) != 2:
        raise ValueError(
            f"{VARIABLE} is set, but MLLA's ImageNet weights are those of a 2D network and this one is 3D: unset the "
            "variable for this configuration, or train configuration 2d"
        )


def fetch(source: str) -> Path:
    """The file that `source`, the variable's value, names; an address is downloaded once, to the user's cache.

    Raises:
        ValueError: for a file that is not there, or not the one of the checksum, or an address without one.
        OSError: if the address cannot be reached.
    """
    address, _, checksum = source.partition("#sha256=")
    checksum = checksum.lower()
    if checksum and not re.fullmatch("[0-9a-f]{64}", checksum):
        raise ValueError(f"{VARIABLE} has the checksum {checksum!r}, expected the 64 digits that sha256sum prints")
    if "://" not in address:
        return _local(Path(address).expanduser(), checksum)
    if not checksum:
        raise ValueError(f"{VARIABLE} is the address {address} without a checksum: append #sha256= and its 64 digits")
    cached = download_folder() / checksum
    if not cached.is_file() or file_checksum(cached, "sha256") != checksum:
        try:
            download(address, cached, "sha256", checksum)
        except ChecksumError as error:
            raise ValueError(
                f"what {address} in {VARIABLE} holds is not the file of the checksum ({error}): correct one of the two"
            ) from error
        except OSError as error:
            raise OSError(
                f"cannot download {address} of {VARIABLE} ({getattr(error, 'reason', None) or error}): download it "
                "elsewhere and give the path of the file"
            ) from error
    return cached


def load(network: MLLAUNet, file: Path) -> str:
    """Load the weights of MLLA in `file` into a 2D network of the same size; returns what was loaded, for a log.

    Raises:
        ValueError: if the file is damaged, or holds another network than MLLA, or one of another size.
    """
    weights = _read(file)
    _check_size(network, weights, file)
    own = network.state_dict()
    channels = own[FIRST_KERNEL].shape[1]
    weights[FIRST_KERNEL], stem = fit_channels(weights[FIRST_KERNEL], channels)
    # A decoder that is less deep than the authors' has no place for all blocks.
    weights = {name: tensor for name, tensor in weights.items() if name in own or name.startswith("encoder.")}
    encoder = {name for name in own if name.startswith("encoder.")}
    wrong = sorted(
        name
        for name in encoder | weights.keys()
        if name not in weights or name not in own or weights[name].shape != own[name].shape
    )
    if wrong:
        raise ValueError(
            f"{file} of {VARIABLE} does not fit this network ({len(wrong)} entries differ, the first is {wrong[0]}): "
            "use the weights of MLLA, and MLLA-UNet with its published topology and normalisation"
        )
    network.load_state_dict(weights, strict=False)

    counts = {name: parameter.numel() for name, parameter in network.named_parameters()}
    loaded = sum(count for name, count in counts.items() if name in weights)
    rest = sorted({".".join(name.split(".")[:2]) for name in counts.keys() - weights.keys()})
    return (
        f"ImageNet weights of {_size_of(weights)} from {file} (SHA256 {file_checksum(file, 'sha256')}): "
        f"{loaded / 1e6:.2f} of {sum(counts.values()) / 1e6:.2f} million parameters, those of the encoder and "
        f"of the decoder's blocks. Not loaded, as an image classifier has none: {', '.join(rest)}. {stem}"
    )


def fit_channels(kernel: Tensor, channels: int) -> tuple[Tensor, str]:
    """The stem's first kernel (C / 2, 3, 3, 3) for images of `channels` channels, and a sentence that says how."""
    if channels == kernel.shape[1]:
        return kernel, "The stem's kernels are those for red, green and blue."
    fitted = kernel.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels
    return fitted, f"The stem's kernels for red, green and blue were summed and divided by {channels}, per channel."


def _local(file: Path, checksum: str) -> Path:
    if not file.is_file():
        raise ValueError(f"{VARIABLE} is {file}, but there is no such file: give its path, or an address with checksum")
    if checksum:
        try:
            verify(file, "sha256", checksum)
        except ChecksumError as error:
            raise ValueError(f"{file} in {VARIABLE} is not the file of the checksum ({error})") from error
    return file


def _read(file: Path) -> StateDict:
    try:
        checkpoint = read_checkpoint(file, weights_only=True)
    except DamagedFileError as error:
        raise ValueError(f"{error}: download what {VARIABLE} names again, or save its weights alone") from error
    try:
        weights = convert_state_dict(checkpoint, "mlla_imagenet") if isinstance(checkpoint, Mapping) else {}
    except ValueError:
        weights = {}
    if not {FIRST_KERNEL, "encoder.levels.0.0.attn.lepe.weight"} <= weights.keys():
        raise ValueError(f"{file} of {VARIABLE} is not MLLA's image classifier: give the file that MLLA released")
    return weights


def _check_size(network: MLLAUNet, weights: StateDict, file: Path) -> None:
    own = network.state_dict()
    if _size(weights) == _size(own):
        return
    known = _size_name(weights)
    remedy = "give the weights of the network's size"
    if known:
        remedy = f"use nnUNetTrainerMLLAUNet{known if known != 'T' else ''}, or {remedy}"
    raise ValueError(f"{file} of {VARIABLE} holds {_size_of(weights)}, but the network is {_size_of(own)}: {remedy}")


def _size(weights: Mapping[str, Tensor]) -> tuple[int, tuple[int, ...]]:
    """Channels of level 0, and the depths of the encoder's levels."""
    blocks = {match[0] for name in weights if (match := re.match(r"encoder\.levels\.\d+\.\d+\.", name))}
    levels = sorted({int(block.split(".")[2]) for block in blocks})
    depths = tuple(sum(block.startswith(f"encoder.levels.{level}.") for block in blocks) for level in levels)
    return weights["encoder.levels.0.0.attn.lepe.weight"].shape[0], depths


def _size_name(weights: Mapping[str, Tensor]) -> str | None:
    published = {(size["embed_dim"], size["depths"]): name for name, size in SIZES.items()}
    return published.get(_size(weights))


def _size_of(weights: Mapping[str, Tensor]) -> str:
    name = _size_name(weights)
    channels, depths = _size(weights)
    return f"size {name}" if name else f"a size with {channels} channels and depths {depths}"
