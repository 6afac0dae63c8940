"""The program of a FLARE image: /workspace/inputs/CASE_0000.nii.gz becomes /workspace/outputs/CASE.nii.gz."""

import sys
from functools import partial
from pathlib import Path

from nnunet_ext.containers import challenges, runtime
from nnunet_ext.containers.cases import ENDING, find_cases, in_order
from nnunet_ext.containers.settings import Settings

WORKSPACE = "/workspace"


def run(workspace: Path, home: Path) -> int:
    """Predict every case.

    Args:
        workspace: the folder with `inputs` and `outputs`.
        home: the folder with settings.json.

    Returns:
        The exit code: 0, or 1 if something was not predicted, which is said; the other cases are written all the same.
    """
    runtime.prepare()
    inputs, outputs = workspace / "inputs", workspace / "outputs"
    settings = Settings.read(home)
    for folder in (inputs, outputs):
        if not folder.is_dir():
            runtime.say(f"{folder} is no folder: mount it into the container")
            return 1
    cases, others = find_cases(inputs)
    for name in others:
        runtime.say(f"{name}: not predicted: expected files named CASE_0000{ENDING}")
    if not cases:
        runtime.say(f"{inputs} holds no case: expected files named CASE_0000{ENDING}")
        return 1
    from nnunet_ext.containers.predict import load, predict

    try:
        predictor = load(Path(settings.model), settings)
    except Exception as error:  # whatever a damaged model makes nnU-Net raise
        runtime.say(f"the model in {settings.model} cannot be loaded: {runtime.reason(error)}")
        return 1
    failed = len(others)
    for name, channels in cases.items():
        try:
            runtime.write_whole(outputs / f"{name}{ENDING}", partial(predict, predictor, in_order(channels)))
        except Exception as error:  # one bad case, a full memory included, must not cost the others
            runtime.say(f"{name}: not predicted: {runtime.reason(error)}")
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run(Path(WORKSPACE), Path(challenges.HOME)))
