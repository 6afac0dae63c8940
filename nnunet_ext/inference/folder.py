"""Prediction of a folder of cases, one after the other: what goes wrong with one does not touch the others."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2.utilities.helpers import empty_cache

from nnunet_ext.files import write_text
from nnunet_ext.inference.cases import find_cases
from nnunet_ext.inference.predictor import Predictor
from nnunet_ext.inference.reading import CaseError
from nnunet_ext.one_line import in_one_line


@dataclass
class Outcome:
    """What became of the cases."""

    written: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    """Predicted before."""
    failed: dict[str, str] = field(default_factory=dict)
    """With the reasons."""


def predict_folder(
    predictor: Predictor,
    source: Path,
    target: Path,
    *,
    previous: Path | None = None,
    overwrite: bool = True,
    done: Callable[[str, float | str], None] = lambda *_: None,
) -> Outcome:
    """Predict every case in `source` into `target`, with the plans and dataset.json that nnU-Net's commands look for.

    Args:
        predictor: the model.
        source: folder of images.
        target: folder of label maps; it is made if absent.
        previous: folder of the predictions of the previous stage, for a cascade.
        overwrite: whether to predict what is there already.
        done: is told of each case its name, and its seconds or what went wrong.

    Raises:
        ValueError: there is no case, or `previous` is needed or is not.
        OSError: `target` cannot be written.
    """
    if (previous is None) != (predictor.previous_stage is None):
        wanted = f"the folder with predictions of {predictor.previous_stage}" if previous is None else "none"
        raise ValueError(f"-prev_stage_predictions is {previous}, the model needs {wanted}")
    cases = find_cases(source, predictor.dataset_json)
    ending = predictor.dataset_json["file_ending"]
    target.mkdir(parents=True, exist_ok=True)
    for name, content in (("plans.json", predictor.plans_manager.plans), ("dataset.json", predictor.dataset_json)):
        write_text(target / name, json.dumps(content, indent=4, ensure_ascii=False) + "\n")
    outcome = Outcome()

    def fail(name: str, reason: str) -> None:
        outcome.failed[name] = reason
        done(name, reason)

    for name, reason in cases.bad.items():
        fail(name, reason)
    for name, images in cases.good.items():
        file = target / f"{name}{ending}"
        if file.is_file() and not overwrite:
            outcome.there.append(name)
            continue
        start = time.monotonic()
        try:
            before = None if previous is None else previous / f"{name}{ending}"
            labels, properties = predictor.predict_files(images, before)
            predictor.write(labels, file, properties)
        except CaseError as error:
            fail(name, str(error))
        except Exception as error:  # whatever it is, the other cases can do without it
            fail(name, in_one_line(error, 300))
            empty_cache(predictor.device)
        else:
            outcome.written.append(name)
            done(name, time.monotonic() - start)
    return outcome
