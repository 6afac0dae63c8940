"""Memory that does not grow with the number of classes, and what a container leaves of it."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from models import write_model
from tiny import tiny_plans

from nnunet_ext.bench_scan.resources import PeakMemory
from nnunet_ext.inference import control_groups, memory
from nnunet_ext.inference.loading import load

MIB = 2**20


def _peak(folder: Path, classes: int) -> int:
    plans, dataset = tiny_plans()
    plans["configurations"]["3d_fullres"] |= {"spacing": [2.0, 2.0, 2.0], "patch_size": [16, 16, 16]}
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"] |= {
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "kernel_sizes": [[3, 3, 3]] * 2,
        "strides": [[1, 1, 1], [2, 2, 2]],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
    }
    dataset["labels"] = {"background": 0} | {f"organ {number}": number for number in range(1, classes)}
    predictor = load(write_model(folder, plans, dataset), step_size=1.0, max_memory=0, device="cpu")
    image = np.random.default_rng(0).normal(size=(1, 96, 96, 96)).astype(np.float32)
    with PeakMemory(torch.device("cpu")) as peak:
        labels = predictor.predict_array(image, {"spacing": [1.0, 1.0, 1.0]})
    assert len(np.unique(labels)) > 2
    if peak.bytes is None:
        pytest.skip("needs a system that counts the memory of a process")
    return peak.bytes


def test_the_number_of_classes_costs_no_memory(tmp_path: Path) -> None:
    few = _peak(tmp_path / "few", 4)
    many = _peak(tmp_path / "many", 80)
    all_logits = 2 * 80 * 96**3
    assert many < few + 0.2 * all_logits, f"{few / MIB:.0f} MiB, {many / MIB:.0f} MiB"


@pytest.mark.parametrize("on_disk", [True, False])
def test_room_is_of_zeros_and_keeps_what_is_written(on_disk: bool) -> None:
    gc.collect()  # files that others left open
    open_before = len(os.listdir("/proc/self/fd"))
    room = memory.Room((3, 1000, 7), on_disk=on_disk)
    assert not room.tensor.any()
    room.tensor[1, 500:] = 2
    room.let_go()
    assert room.tensor.sum() == 2 * 500 * 7
    assert bool(room.tensor[1, 500:].eq(2).all())
    del room
    assert len(os.listdir("/proc/self/fd")) == open_before


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "max", "memory.current": "5"}, 10 * 1024),
        ({"memory.max": "7000", "memory.current": "3000", "memory.stat": "anon 1\ninactive_file 500\n"}, 4500),
        ({"memory.max": "7000", "memory.current": "9000"}, 0),
        ({"memory.max": "99999999", "memory.current": "1"}, 10 * 1024),
        ({}, 10 * 1024),
    ],
)
def test_a_containers_limit_counts(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "meminfo").write_text("MemTotal:       20 kB\nMemFree:  3 kB\nMemAvailable:   10 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(control_groups, "GROUPS", tmp_path)
    monkeypatch.setattr(control_groups, "OF_THIS_PROCESS", tmp_path / "absent")
    assert memory.available() == expected


V2 = {"memory.max": "max", "memory.current": "9000"}


@pytest.mark.parametrize(
    ("own", "tree", "expected"),
    [
        ("0::/job/step", {"job/step": {"memory.max": "7000", "memory.current": "3000"}, "job": V2, ".": {}}, 4000),
        ("0::/job/step", {"job/step": V2, "job": {"memory.max": "9500", "memory.current": "9000"}}, 500),
        ("0::/outside/name", {".": {"memory.max": "7000", "memory.current": "3000"}}, 4000),  # seen from a container
        ("0::/job", {"other": {"memory.max": "1", "memory.current": "1"}, "job": V2}, 10 * 1024),
        (
            "9:memory:/job/step\n0::/job",
            {
                "memory/job/step": {
                    "memory.limit_in_bytes": "9223372036854771712",
                    "memory.usage_in_bytes": "3000",
                },
                "memory/job": {
                    "memory.limit_in_bytes": "7000",
                    "memory.usage_in_bytes": "3000",
                    "memory.stat": "total_inactive_file 500",
                },
            },
            4500,
        ),
    ],
)
def test_the_limits_of_all_groups_above_count(
    own: str, tree: dict[str, dict[str, str]], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, files in tree.items():
        (tmp_path / "groups" / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / "groups" / folder / name).write_text(text + "\n")
    (tmp_path / "meminfo").write_text("MemAvailable:   10 kB\n")
    (tmp_path / "cgroup").write_text(own + "\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(control_groups, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(control_groups, "OF_THIS_PROCESS", tmp_path / "cgroup")
    assert memory.available() == expected
