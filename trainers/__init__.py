"""The trainer classes, one file per architecture; import them as `nnunet_ext.trainers`.

Only the file of the trainer that is asked for is imported.
"""

from importlib import import_module
from typing import Any

_FILES = {
    "LKMUNet": "lkm_unet",
    "MLLAUNet": "mlla_unet",
    "MetaMambaUNet": "meta_mamba_unet",
    "MixedMLPUNet": "mixed_mlp_unet",
    "UMambaBot": "u_mamba",
}


def __getattr__(name: str) -> Any:
    """Trainer class `name`, from the file whose architecture its name starts with."""
    for architecture, file in _FILES.items():
        if name.startswith(f"nnUNetTrainer{architecture}"):
            module = import_module(f"{__name__}.{file}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"nnunet_ext has no trainer called {name}; `nnunet-ext list` shows those it has")
