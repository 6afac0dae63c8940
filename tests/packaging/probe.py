"""Run inside a fresh environment: what stock nnU-Net's look-up finds there, as JSON on the last line.

python probe.py NAME...     look up these trainers; without names, every trainer that nnunet_ext.trainers has
"""

import contextlib
import importlib
import io
import json
import multiprocessing
import pickle
import pkgutil
import sys


def main() -> None:
    """Look the trainers up here and in a spawned child, and compare."""
    asked = sys.argv[1:]
    names = asked or ours()
    here = look_up(names)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        child = pool.apply(look_up, (names,))  # the classes travel back by pickle
    facts = {
        "classes": {name: f"{trainer.__module__}.{trainer.__qualname__}" for name, trainer in here.items()},
        "same again": look_up(names) == here,
        "same in child": child == here,
        "pickles": pickle.loads(pickle.dumps(here)) == here,
    }
    if not asked:
        from nnunet_ext import trainers

        facts["same as imported"] = all(getattr(trainers, name) is trainer for name, trainer in here.items())
    sys.stdout.write(json.dumps(facts) + "\n")


def ours() -> list[str]:
    """Every trainer class that the files of nnunet_ext.trainers define."""
    from nnunet_ext import trainers

    names: list[str] = []
    for file in pkgutil.iter_modules(trainers.__path__):
        module = importlib.import_module(f"{trainers.__name__}.{file.name}")
        own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
        names += [value.__name__ for value in own if getattr(value, "__name__", "").startswith("nnUNetTrainer")]
    return sorted(names)


def look_up(names: list[str]) -> dict[str, type]:
    """The classes that nnU-Net's own search finds."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    with contextlib.redirect_stdout(io.StringIO()):
        return {name: recursive_find_trainer_class_by_name(name) for name in names}


if __name__ == "__main__":
    main()
