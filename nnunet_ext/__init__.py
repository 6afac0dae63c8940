"""New segmentation networks as trainers for stock nnU-Net v2.

Importing this package is light: every Python start-up of the environment does it (see `_startup.py`).
"""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout or an editable install the trainers stand beside this folder; a wheel carries them inside it.
_checkout = Path(__file__).resolve().parent.parent
if not (Path(__file__).parent / "trainers").is_dir() and (_checkout / "trainers" / "__init__.py").is_file():
    __path__.append(str(_checkout))
del Path, _checkout
