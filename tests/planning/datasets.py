"""Datasets of which only the fingerprint exists: committed geometries of the benchmarks, without images."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "fingerprints"
NAMES = sorted(file.stem for file in FOLDER.glob("*.json"))


def load(name: str) -> dict[str, Any]:
    """{"dataset": dataset.json, "fingerprint": nnU-Net's dataset_fingerprint.json}."""
    described: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return described


def write(described: dict[str, Any], raw: Path, preprocessed: Path, number: int = 1) -> str:
    """Lay a dataset where nnU-Net's planner looks for it; returns its name."""
    name = f"Dataset{number:03d}_Planned"
    (raw / name).mkdir(parents=True)
    (preprocessed / name).mkdir(parents=True)
    # With its cases named here, nnU-Net does not look for images.
    cases = {"dataset": {"case": {"images": ["case_0000"], "label": "case"}}}
    (raw / name / "dataset.json").write_text(json.dumps(described["dataset"] | cases))
    (preprocessed / name / "dataset_fingerprint.json").write_text(json.dumps(described["fingerprint"]))
    return name
