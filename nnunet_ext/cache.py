"""Where compiled kernels and downloads are kept between runs."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache folder for numba's kernels, which NUMBA_CACHE_DIR overrules; it need not exist.

    Raises:
        RuntimeError: the user has no home folder.
    """
    return _our_cache() / "numba"


def download_folder() -> Path:
    """The user's cache folder for downloads, where a file is named by its checksum; it need not exist.

    Raises:
        RuntimeError: the user has no home folder.
    """
    return _our_cache() / "downloads"


def _our_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nnunet_ext"
