"""`nnunet-ext bench-scan` at sizes that say nothing but that it works."""

import copy
import json
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunet_ext.architectures import LKMUNet
from nnunet_ext.bench_scan import network, rivals, roofline
from nnunet_ext.bench_scan.cases import GPU_CASES, Case, make_inputs, parse
from nnunet_ext.bench_scan.measure import measure, reference
from nnunet_ext.bench_scan.resources import PeakMemory
from nnunet_ext.cli import main
from nnunet_ext.ops import available_backends, selective_scan
from nnunet_ext.ops.loading import why_not_loaded
from nnunet_ext.ops.selective_scan.registry import BackendStatus

from .plans import unet_arguments
from .reference import relative_error

CPU = torch.device("cpu")
MIB = 2**20


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
            assert result["error"] == max(result["errors"].values()) < 1e-5
            assert list(result["errors"]) == ["y", "u", "delta", "A", "B", "C", "D", "z", "delta_bias"]
            assert isinstance(result["peak_bytes"], int) == sys.platform.startswith("linux")
    assert report["versions"]["torch"] == torch.__version__.split("+")[0]
    assert (tmp_path / "new" / "scan.png").stat().st_size > 1000
    assert "network" not in report
    assert "error" in capsys.readouterr().out


@pytest.mark.parametrize("shape", ["", "1,2", "1,2,3,4,5", "0,2,3", "a,2,3", "-1,2,3"])
def test_wrong_shapes_are_named(shape: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench-scan", f"--shape={shape}", "--out", str(tmp_path)]) == 2
    assert f"shape {shape!r} is not understood: give B,D,L" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_state_too_large_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench-scan", "--shape", "2,64,16,4096", "--out", str(tmp_path)]) == 2
    assert "has 4096 states (B,D,L,N); at most 256 are possible" in capsys.readouterr().err


def test_what_cannot_be_measured_or_written_is_named_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["bench-scan", "--device", "cuda", "--out", str(tmp_path)]) == 2
    assert "torch sees no cuda here" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["bench-scan", "--device", "cpu", "--out", str(tmp_path / "file" / "new")]) == 1
    said = capsys.readouterr()
    assert str(tmp_path / "file") in said.err
    assert said.out == ""


def test_a_rival_that_fails_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("u.stride(-1) == 1 is false\nmore")

    monkeypatch.setattr(rivals, "_mambapy", broken)
    monkeypatch.setattr(rivals, "why_not_loaded", lambda module, _: None if module.startswith("mambapy") else "absent")
    arguments = ["--shape", "1,2,3", "--repetitions", "1", "--device", "cpu", "--out", str(tmp_path)]
    assert main(["bench-scan", *arguments]) == 0
    (results,) = json.loads((tmp_path / "scan.json").read_text())["cases"].values()
    assert results["mambapy pscan"] == {"skipped": "RuntimeError: u.stride(-1) == 1 is false"}
    assert results["torch"]["training_seconds"] > 0


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
    inputs = make_inputs(Case(2, 3, 7, 4), CPU, torch.float32)
    expected = selective_scan(**inputs, delta_softplus=True, backend="naive")
    assert relative_error(rivals._mambapy(**inputs), expected) < 1e-6


@pytest.fixture
def look_again() -> Iterator[None]:
    """What is installed is looked up anew in the test, and after it."""
    why_not_loaded.cache_clear()
    yield
    why_not_loaded.cache_clear()


@pytest.mark.usefixtures("look_again")
def test_mamba_ssms_loop_is_measured_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rivals.MAMBA_SSM_LOOP not in rivals.scans(CPU)
    module = types.ModuleType("mamba_ssm.ops.selective_scan_interface")
    module.selective_scan_ref = (  # type: ignore[attr-defined]  # in the order of mamba-ssm's arguments
        lambda u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, return_last_state=False: (
            selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus, backend="naive")
        )
    )
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    why_not_loaded.cache_clear()
    inputs = make_inputs(Case(2, 3, 7, 4), CPU, torch.float32)
    expected = selective_scan(**inputs, delta_softplus=True)
    assert relative_error(rivals.scans(CPU)[rivals.MAMBA_SSM_LOOP](**inputs), expected) < 1e-6


def test_floor_is_that_of_the_notes() -> None:
    """19 bytes per element forward and about 33 backward in float32 at 64 channels; 20 exponentials forward."""
    case = GPU_CASES[0]
    forward = roofline.floor_seconds(case, torch.float32, False, bandwidth=1.0, exponentials=None) / case.elements
    both = roofline.floor_seconds(case, torch.float32, True, bandwidth=1.0, exponentials=None) / case.elements
    assert forward == 19
    assert 32 <= both - forward <= 34
    assert roofline.floor_seconds(case, torch.float32, False, 1e30, exponentials=20.0) == case.elements
    assert parse("1,2,3") == Case(1, 2, 3)


@pytest.mark.parametrize("name", ["u", "delta", "A", "B", "C", "D", "z", "delta_bias"])
def test_a_gradient_that_is_one_percent_off_is_seen(name: str) -> None:
    def scan(**given: torch.Tensor) -> torch.Tensor:
        x = given.pop(name)
        changed = x + 0.01 * (x - x.detach())  # the value is right
        return selective_scan(**given, **{name: changed}, delta_softplus=True, backend="torch")

    (result,) = measure({"wrong": scan}, make_inputs(Case(2, 3, 9, 4), CPU, torch.float32), repetitions=1).values()
    assert [key for key, error in result["errors"].items() if error > 1e-3] == [name]
    assert result["error"] == pytest.approx(0.01, rel=0.1)


def test_parameters_are_compared_only_where_all_sequences_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnunet_ext.bench_scan.measure.ELEMENTS_CHECKED", 1)
    exact = reference(make_inputs(Case(3, 3, 9, 4), CPU, torch.float32))
    assert list(exact) == ["y", "u", "delta", "B", "C", "z"]
    assert all(len(value) == 2 for value in exact.values())


# In a process of its own: what other tests left behind would count.
PEAKS = """
import torch
from nnunet_ext.bench_scan.resources import PeakMemory
MIB = 2**20
CPU = torch.device("cpu")
small = [torch.ones(20_000) for _ in range(1000)]  # 80 MiB of the heap, which the process may keep
del small
with PeakMemory(CPU) as memory:
    kept = torch.ones(16 * MIB)
    del kept
    kept = torch.ones(8 * MIB)  # the smaller one second: the process may keep the first one's memory, and uses it
print(memory.bytes)
with PeakMemory(CPU) as memory:
    many = [torch.ones(20_000) for _ in range(500)]
print(memory.bytes)
with PeakMemory(CPU) as memory:
    kept.sum()
print(memory.bytes)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process its peak")
def test_peak_memory_on_the_cpu(run: Callable) -> None:
    result = run(sys.executable, "-c", PEAKS, timeout=120)
    assert result.returncode == 0, result.stderr
    one, many, none = map(int, result.stdout.split())
    assert one == pytest.approx(64 * MIB, abs=6 * MIB)
    assert many == pytest.approx(500 * 80_000, abs=6 * MIB)
    assert none < 6 * MIB


def test_nobody_counts_memory_on_mps() -> None:
    with PeakMemory(torch.device("mps")) as memory:
        pass
    assert memory.bytes is None


def test_training_steps_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(network, "CPU_PLAN", network.Plan((1, 1, 1), (8, 16, 16), 2))
    arguments = ["--shape", "1,2,5,4", "--network", "--repetitions", "1", "--device", "cpu"]
    assert main(["bench-scan", *arguments, "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "scan.json").read_text())["network"]
    results = report.pop("results")
    assert report == {"name": "LKMUNet", "patch": [8, 16, 16], "batch": 2, "base_features": 2}
    assert set(results) == {*available_backends("cpu"), network.RIVAL}
    for name in available_backends("cpu"):
        if name in rivals.SLOW:
            assert results[name] == {"skipped": "a loop over every token"}
        else:
            assert results[name]["seconds"] > 0
    assert results[network.RIVAL] == {"skipped": "it needs a CUDA device, not cpu"}
    assert "mamba_ssm and flips  not measured: it needs a CUDA device, not cpu" in capsys.readouterr().out


def test_each_network_is_computed_by_its_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNUNET_EXT_SCAN_BACKEND", "auto")
    seen: list[tuple[str | None, bool]] = []

    def train(plan: network.Plan, device: torch.device, flips: bool) -> tuple[types.SimpleNamespace, dict[str, Any]]:
        seen.append((os.environ.get("NNUNET_EXT_SCAN_BACKEND"), flips))
        raise torch.OutOfMemoryError

    statuses = [BackendStatus("triton", True, ""), BackendStatus("mamba_ssm", True, "")]
    monkeypatch.setattr(network, "backend_status", lambda _: statuses)
    monkeypatch.setattr(network, "_training", train)
    results = network.measure_network(network.CPU_PLAN, CPU, 1)
    assert seen == [("triton", False), ("mamba_ssm", False), ("mamba_ssm", True)]
    assert results == {name: {"skipped": "out of memory"} for name in ("triton", "mamba_ssm", network.RIVAL)}
    assert os.environ["NNUNET_EXT_SCAN_BACKEND"] == "auto"


def test_the_network_with_flips_computes_the_same() -> None:
    plan = network.Plan((1, 1, 1), (8, 16, 16), 2)
    whole = LKMUNet(1, num_classes=3, **plan.arguments())
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    flipped = copy.deepcopy(whole)
    network.flip_instead(flipped)
    assert sum(isinstance(module, network.Flipped) for module in flipped.modules()) == 2 * plan.arguments()["n_stages"]
    image = torch.randn(1, 1, *plan.patch)
    for output, expected in zip(flipped(image), whole(image), strict=True):
        assert relative_error(output, expected) < 1e-5


def test_the_network_is_that_of_the_paper() -> None:
    ours, planned = network.GPU_PLAN.arguments(), unet_arguments((2.5, 0.8, 0.8), (40, 224, 192))
    for name in ("kernel_sizes", "strides"):
        assert list(ours.pop(name)) == planned[name]
    assert ours.pop("deep_supervision")
    assert ours.pop("n_conv_per_stage") == planned.pop("n_conv_per_stage")[0]
    assert ours.pop("n_conv_per_stage_decoder") == planned.pop("n_conv_per_stage_decoder")[0]
    assert ours == {name: value for name, value in planned.items() if name in ours}


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_wrong_numbers_of_runs_are_named(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["bench-scan", f"--repetitions={number}"])
    assert error.value.code == 2
    assert f"'{number}' is not a number of runs: give 1 or more" in capsys.readouterr().err
