"""Tells nnU-Net, at every start of Python, where our trainers are.

nnU-Net (>= 2.8) looks for trainers in the folders that the variable `nnUNet_extTrainer` names. The start-up files
`nnunet_ext.pth` and `nnunet_ext.start` in site-packages call `register`, which appends our folder to it. It imports
`os` only, starts nothing and reaches no network. `NNUNET_EXT_NO_AUTOREGISTER=1` switches it off.
"""

import os

VARIABLE = "nnUNet_extTrainer"
OPT_OUT = "NNUNET_EXT_NO_AUTOREGISTER"
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_nnunet_ext")


def register() -> None:
    """Append our folder to `nnUNet_extTrainer`; the user's own entries stay before it and win."""
    if os.environ.get(OPT_OUT, "") not in ("", "0"):
        return
    entries = [entry for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry]
    if FOLDER not in entries:
        os.environ[VARIABLE] = os.pathsep.join([*entries, FOLDER])
