"""nnU-Net's own folders."""

import os
from pathlib import Path


def nnunet_folder(variable: str, error: type[Exception]) -> Path:
    """The folder that nnU-Net's `variable` names, absolute; `error` if it is not set or not there."""
    value = os.environ.get(variable)
    if not value:
        raise error(f"{variable} is not set; name nnU-Net's folder: export {variable}=/your/folder")
    folder = Path(value).absolute()
    if not folder.is_dir():
        raise error(f"{variable} names {value}, which is no folder; make it or correct the variable.")
    return folder
