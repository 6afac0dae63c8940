"""What the demo knows about the dataset it trains on."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Dataset:
    """An nnU-Net raw dataset in the demo's own folder, with labelled test cases."""

    folder: Path
    """imagesTr, labelsTr, imagesTs, labelsTs and dataset.json."""
    title: str
    source: str
    """Where the images come from and under which terms; one or two sentences for the report."""
    unseen: str
    """How the test cases were chosen and why they count as unseen; for the report."""
    test_labels: Path
    """Folder of the test cases' label maps."""

    @property
    def name(self) -> str:
        """nnU-Net's name, such as Dataset001_MNI152."""
        return self.folder.name

    @property
    def identifier(self) -> str:
        """nnU-Net's three-digit number."""
        return self.name[len("Dataset") : len("Dataset") + 3]
