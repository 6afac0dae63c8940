"""New segmentation networks as trainers for stock nnU-Net v2.

Importing this package is light: every Python start-up of the environment does it (see `_startup.py`).
"""

import os.path as _path

__version__ = "0.1.0"

# In a checkout or an editable install the trainers stand beside this folder; a wheel carries them inside it.
_package = _path.dirname(_path.abspath(__file__))
_checkout = _path.dirname(_package)
if not _path.isdir(_path.join(_package, "trainers")) and _path.isfile(_path.join(_checkout, "trainers", "__init__.py")):
    __path__.append(_checkout)
del _package, _checkout
