"""What plans may name: nnU-Net imports a network and its layers by their names, and calls them."""

import contextlib
import pydoc
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn


def check_layers(plans: Mapping[str, Any]) -> None:
    """Refuse plans that name anything but networks and layers, in any configuration; nothing of it is called.

    nnU-Net passes the arguments that stand in the plans, so a name like `os.system` would run a command. Inherited
    configurations hand on an architecture as it stands, and nnU-Net itself makes those of old plans: so what stands
    somewhere in the plans is all that there is.

    Raises:
        ValueError: says what is named, and where.
    """
    configurations = plans.get("configurations")
    if not isinstance(configurations, Mapping):
        return  # nnU-Net cannot use them at all, and says so
    for name, entries in configurations.items():
        architecture = entries.get("architecture") if isinstance(entries, Mapping) else None
        if architecture is None:
            continue
        for key, path in _named(name, architecture):
            if not _is_module(path, is_network=key == "network_class_name"):
                raise ValueError(
                    f"the plans name {path!r} as {key} of {name}: here that is no layer (a subclass of "
                    "torch.nn.Module), and anything else could be code; install the layer's package if you trust it"
                )


def _named(configuration: str, architecture: Any) -> Iterator[tuple[str, Any]]:
    """Each entry of which nnU-Net imports what it names, with the name."""
    layers = architecture.get("arch_kwargs", {}) if isinstance(architecture, Mapping) else None
    imported = architecture.get("_kw_requires_import", []) if isinstance(architecture, Mapping) else None
    if not isinstance(layers, Mapping) or not isinstance(imported, list | tuple):
        raise ValueError(f"the plans have no architecture for {configuration} that nnU-Net could read")
    if "network_class_name" in architecture:
        yield "network_class_name", architecture["network_class_name"]
    for key in imported:
        if layers.get(key) is not None:
            yield key, layers[key]


def _is_module(path: Any, is_network: bool) -> bool:
    # The standard library holds no layers, and some of its modules do something when they are imported.
    if not isinstance(path, str) or path.lstrip(".").partition(".")[0] in sys.stdlib_module_names:
        return False
    try:
        found = pydoc.locate(path)  # as nnU-Net finds it
        if found is None and is_network:
            found = _moved(path.rpartition(".")[2])
            if found is None:
                return True  # a trainer that builds a network of its own needs none here; nnU-Net calls nothing
    except Exception:  # imports raise anything
        return False
    return isinstance(found, type) and issubclass(found, nn.Module)


def _moved(name: str) -> Any:
    """What nnU-Net takes for a network that is not where its name says."""
    import dynamic_network_architectures
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    package = "dynamic_network_architectures.architectures"
    folder = Path(dynamic_network_architectures.__path__[0], "architectures")
    with without_timms_warning():
        return recursive_find_python_class(str(folder), name, package)


@contextlib.contextmanager
def without_timms_warning() -> Iterator[None]:
    """Around nnU-Net's look-ups, which import timm, and that uses a decorator of PyTorch's that newer ones warn of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.interface` is deprecated", FutureWarning)
        yield
