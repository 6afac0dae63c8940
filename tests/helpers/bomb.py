"""A pickle that runs code when it is read carelessly."""

from pathlib import Path


class Bomb:
    """Pickled, it makes the folder `target` when it is read as pickles usually are."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.mkdir, (str(self.target),)
