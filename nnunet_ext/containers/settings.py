"""What the program in an image is told when the image is built."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

FILE = "settings.json"


@dataclass(frozen=True)
class Settings:
    """The content of settings.json."""

    target: str
    """flare or grand-challenge."""
    model: str
    """The folder of the model inside the image."""
    folds: list[str]
    checkpoint: str
    step_size: float
    mirroring: bool
    inputs: list[str]
    """grand-challenge: folders below /input/images, in the order of the model's channels; empty for the only one."""
    output: str
    """grand-challenge: the folder below /output/images."""
    ending: str
    """grand-challenge: .mha or .tif."""

    def write(self, folder: Path) -> None:
        """Write them into a folder."""
        (folder / FILE).write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Settings":
        """Read them from a folder."""
        return cls(**json.loads((folder / FILE).read_text(encoding="utf-8")))
