"""Caches that are filled when an image is built and found when it runs."""

import os
import platform
from pathlib import Path

import pytest

from nnunet_ext.containers import caches

FLAGS = "flags\t\t: fpu avx avx2 fma f16c bmi1 bmi2 abm movbe avx512f\n"


def test_what_a_build_fills_is_there_at_the_start(tmp_path: Path) -> None:
    written, home = tmp_path / "tmp" / "ours", tmp_path / "home"
    (home / caches.FOLDER).mkdir(parents=True)  # as the image of grand-challenge has it
    (written / "numba").mkdir(parents=True)
    (written / "numba" / "kernel").write_text("compiled")
    caches.keep(written, home)
    assert not written.exists()
    caches.restore(home, written)
    assert (written / "numba" / "kernel").read_text() == "compiled"


def test_what_is_there_at_the_start_stays(tmp_path: Path) -> None:
    (tmp_path / "home" / caches.FOLDER / "numba").mkdir(parents=True)
    (tmp_path / "ours").mkdir()
    caches.restore(tmp_path / "home", tmp_path / "ours")
    assert not list((tmp_path / "ours").iterdir())


def test_nowhere_to_write(tmp_path: Path) -> None:
    (tmp_path / "home" / caches.FOLDER).mkdir(parents=True)
    (tmp_path / "file").touch()
    caches.restore(tmp_path / "home", tmp_path / "file" / "ours")


@pytest.mark.parametrize(("flags", "cpu"), [(FLAGS, "x86-64-v3"), (FLAGS.replace("avx2", ""), None), ("", None)])
def test_kernels_for_other_cpus_only_where_they_run(
    flags: str, cpu: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        os.environ.pop(name, None)
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n" + flags)
    caches.compile_portably(tmp_path / "cpuinfo")
    assert os.environ.get("NUMBA_CPU_NAME") == cpu
    caches.compile_portably(tmp_path / "absent")
