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
from nnunet_ext.inference import memory
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
    monkeypatch.setattr(memory, "CGROUPS", ((tmp_path, *memory.CGROUPS[0][1:]),))
    assert memory.available() == expected
