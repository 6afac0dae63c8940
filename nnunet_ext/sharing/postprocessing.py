"""The postprocessing that nnU-Net determined, whose pickle is read without running what it holds."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

MODULE = "nnunetv2.postprocessing.remove_connected_components"
FUNCTION = "remove_all_but_largest_component_from_segmentation"
"""The one function that nnU-Net puts there."""


def safe_copy(source: Path, target: Path) -> None:
    """Write a postprocessing.pkl anew, if it names only nnU-Net's own function and labels.

    Raises:
        ValueError: if it holds anything else.
    """
    try:
        functions, arguments = _Reader(io.BytesIO(source.read_bytes())).load()
        plain = [{str(name): _plain(value) for name, value in entry.items()} for entry in arguments]
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to say
        raise ValueError(
            f"{source} is not what nnU-Net writes there ({error}): move it away and export again"
        ) from error
    target.write_bytes(pickle.dumps((list(functions), plain), protocol=4))


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        scalar = np.float64(0).__reduce__()[0]
        if (module, name) == (MODULE, FUNCTION) or (module, name) == ("numpy", "dtype"):
            return super().find_class(module, name)
        if module.startswith("numpy.") and module.endswith(".multiarray") and name == "scalar":
            return scalar
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _plain(value: Any) -> Any:
    """Labels as nnU-Net's function takes them: numbers, regions as tuples, lists of both."""
    if isinstance(value, list | tuple):
        return type(value)(_plain(entry) for entry in value)
    return int(value)
