"""Control groups of both versions, as Linux shows them."""

from pathlib import Path

import pytest

from nnunet_ext.containers import measure
from nnunet_ext.inference import control_groups

ID = "docker/0123abcd"


def test_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_groups, "GROUPS", tmp_path)
    # Of a machine that has version 2 beside it, without controllers.
    found = control_groups.groups([f"9:memory:/{ID}", f"4:cpu,cpuacct:/{ID}", f"1:name=systemd:/{ID}", f"0::/{ID}"])
    for name in ("memory", "cpuacct"):
        (tmp_path / name / ID).mkdir(parents=True)
    (found["memory"] / "memory.stat").write_text("cache 900\nrss 10\nshmem 1\ntotal_rss 4096\ntotal_shmem 100\n")
    (found["cpuacct"] / "cpuacct.usage").write_text("2500000000\n")
    assert measure.memory(found["memory"]) == 4196
    assert measure.cpu_seconds(found["cpuacct"]) == 2.5


def test_version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_groups, "GROUPS", tmp_path)
    found = control_groups.groups([f"0::/system.slice/{ID}.scope"])
    group = tmp_path / "system.slice" / f"{ID}.scope"
    group.mkdir(parents=True)
    (group / "memory.stat").write_text("anon 4096\nfile 900\nshmem 100\n")
    (group / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    assert measure.memory(found["memory"]) == 4196
    assert measure.cpu_seconds(found["cpuacct"]) == 2.5
