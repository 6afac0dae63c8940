"""`nnunet-ext bench-scan` at sizes that say nothing but that it works."""

import json
import sys
import types
from pathlib import Path

import pytest
import torch

from nnunet_ext.bench_scan import rivals, roofline
from nnunet_ext.bench_scan.cases import GPU_CASES, Case, make_inputs, parse
from nnunet_ext.cli import main
from nnunet_ext.ops import available_backends, selective_scan

from .reference import relative_error


def test_measures_everything_that_runs_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--shape", "2,3,9", "--shape", "1,2,5,4", "--repetitions", "2", "--device", "cpu"]
    assert main(["bench-scan", *arguments, "--out", str(tmp_path / "new")]) == 0
    report = json.loads((tmp_path / "new" / "scan.json").read_text())
    assert list(report["cases"]) == ["(2, 3, 9)", "(1, 2, 5, 4)"]
    for results in report["cases"].values():
        assert [name for name in results if name != "mambapy pscan"] == available_backends("cpu")
        for result in results.values():
            assert result["forward_seconds"] > 0
            assert result["training_seconds"] > 0
            assert 0 < result["training_of_roofline"] < 1
            assert result["error"] < 1e-5
    assert report["versions"]["torch"] == torch.__version__.split("+")[0]
    assert (tmp_path / "new" / "scan.png").stat().st_size > 1000
    assert "error" in capsys.readouterr().out


@pytest.mark.parametrize("shape", ["", "1,2", "1,2,3,4,5", "0,2,3", "a,2,3", "-1,2,3"])
def test_wrong_shapes_are_named(shape: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench-scan", f"--shape={shape}", "--out", str(tmp_path)]) == 2
    assert f"shape {shape!r} is not understood: give B,D,L" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_long_loops_are_left_out(tmp_path: Path) -> None:
    arguments = ["--shape", f"1,1,{rivals.LONGEST_SLOW + 1},1", "--repetitions", "1", "--device", "cpu"]
    assert main(["bench-scan", *arguments, "--out", str(tmp_path)]) == 0
    (results,) = json.loads((tmp_path / "scan.json").read_text())["cases"].values()
    assert results["naive"] == {"skipped": "a loop over 4097 steps"}


def test_mambapy_is_called_as_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plumbing only, around a loop instead of its parallel scan."""

    def pscan(decay: torch.Tensor, drive: torch.Tensor) -> torch.Tensor:
        h = [drive[:, 0]]
        for t in range(1, drive.shape[1]):
            h.append(decay[:, t] * h[-1] + drive[:, t])
        return torch.stack(h, 1)

    module = types.ModuleType("mambapy.pscan")
    module.pscan = pscan  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mambapy", types.ModuleType("mambapy"))
    monkeypatch.setitem(sys.modules, "mambapy.pscan", module)
    inputs = make_inputs(Case(2, 3, 7, 4), torch.device("cpu"), torch.float32)
    expected = selective_scan(**inputs, delta_softplus=True, backend="naive")
    assert relative_error(rivals._mambapy(**inputs), expected) < 1e-6


def test_floor_is_that_of_the_notes() -> None:
    """19 bytes per element forward and about 33 backward in float32 at 64 channels; 20 exponentials forward."""
    case = GPU_CASES[0]
    forward = roofline.floor_seconds(case, torch.float32, False, bandwidth=1.0, exponentials=None) / case.elements
    both = roofline.floor_seconds(case, torch.float32, True, bandwidth=1.0, exponentials=None) / case.elements
    assert forward == 19
    assert 32 <= both - forward <= 34
    assert roofline.floor_seconds(case, torch.float32, False, 1e30, exponentials=20.0) == case.elements
    assert parse("1,2,3") == Case(1, 2, 3)
