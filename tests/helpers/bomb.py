"""A pickle and plans that run code when they are read carelessly."""

import json
from pathlib import Path


class Bomb:
    """Pickled, it makes the folder `target` when it is read as pickles usually are."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.mkdir, (str(self.target),)


def plant_in_plans(model: Path, target: Path) -> None:
    """Change a model's plans.json so that building its network makes the folder `target`: another configuration,
    which the model's own inherits from, names a function as a layer.
    """
    plans = json.loads((model / "plans.json").read_text())
    (name,) = plans["configurations"]
    parent = plans["configurations"][name]
    parent["architecture"]["arch_kwargs"] |= {"nonlin": "os.mkdir", "nonlin_kwargs": {"path": str(target)}}
    plans["configurations"] = {"parent": parent, name: {"inherits_from": "parent"}}
    (model / "plans.json").write_text(json.dumps(plans))


PLANTED = "the plans name 'os.mkdir' as nonlin of parent: here that is no layer"
