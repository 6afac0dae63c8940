"""One run: all cases, all scans, on request the whole network; a table in JSON and a picture."""

import datetime
import json
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from nnunet_ext.bench_scan import roofline
from nnunet_ext.bench_scan.cases import CPU_CASES, GPU_CASES, Case, make_inputs
from nnunet_ext.bench_scan.figure import draw
from nnunet_ext.bench_scan.measure import Result, measure
from nnunet_ext.bench_scan.rivals import LONGEST_SLOW, SLOW, scans
from nnunet_ext.devices import find_device
from nnunet_ext.files import write_text
from nnunet_ext.versions import versions

PACKAGES = ("torch", "triton", "numba", "mamba-ssm", "mambapy", "nnunet-ext")


def run(cases: Sequence[Case], network: bool, device: str, dtype: str, repetitions: int, out: Path) -> Iterator[str]:
    """Measure, write `out`/scan.json and `out`/scan.png, and yield the lines of a table as they are measured.

    Args:
        cases: none for those of LKM-UNet (on a CPU smaller ones).
        network: also measure training steps of LKM-UNet (on a CPU of a small one).
        device: "auto", "cuda", "mps" or "cpu".
        dtype: "float32", "bfloat16" or "float16", of the sequences.
        repetitions: runs of which the median counts.
        out: folder, made if it does not exist.

    Raises:
        ValueError: the device is absent.
        OSError: nothing can be written to `out`.
    """
    where = find_device(None if device == "auto" else device)
    out.mkdir(parents=True, exist_ok=True)  # what cannot be written is known before hours of measuring
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else f"{where.type} {_processor()}",
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": versions(PACKAGES),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "dtype": dtype,
        "repetitions": repetitions,
        "bytes_per_second": roofline.bandwidth(where),
        "exponentials_per_second": roofline.exponentials(where),
        "cases": {},
    }
    yield (
        f"{report['device']}, {report['threads']} threads, {dtype}; medians of {repetitions}: "
        "forward, forward and backward, of each the roofline's part, memory of the latter"
    )
    usual = GPU_CASES if where.type == "cuda" else CPU_CASES
    for case in cases or usual:
        report["cases"][str(case)], lines = _measure_case(case, where, getattr(torch, dtype), report)
        yield from lines
    if network:
        report["network"], lines = _measure_network(where, repetitions)
        yield from lines
    write_text(out / "scan.json", json.dumps(report, indent=2) + "\n")
    draw(report, out / "scan.png")
    yield f"written: {out / 'scan.json'}, {out / 'scan.png'}"


def _measure_case(
    case: Case, device: torch.device, dtype: torch.dtype, report: dict[str, Any]
) -> tuple[dict[str, Result], list[str]]:
    """Results by name, and lines of the table."""
    bandwidth, exponentials = report["bytes_per_second"], report["exponentials_per_second"]
    forward, both = (roofline.floor_seconds(case, dtype, way, bandwidth, exponentials) for way in (False, True))
    slow = {name: {"skipped": f"a loop over {case.length} steps"} for name in SLOW if case.length > LONGEST_SLOW}
    running = {name: scan for name, scan in scans(device).items() if name not in slow}
    results = measure(running, make_inputs(case, device, dtype), report["repetitions"]) | slow
    lines = [f"(B, D, L) = {case}: floor {forward * 1e3:.3g} ms forward, {both * 1e3:.3g} ms with backward"]
    for name, result in results.items():
        if "skipped" not in result:
            result["forward_of_roofline"] = forward / result["forward_seconds"]
            result["training_of_roofline"] = both / result["training_seconds"]
        lines.append(_line(name, result))
    return results, lines


def _line(name: str, result: Result) -> str:
    if "skipped" in result:
        return f"  {name:<20} not measured: {result['skipped']}"
    return (
        f"  {name:<20} {result['forward_seconds'] * 1e3:9.3f} ms ({result['forward_of_roofline']:4.0%})"
        f"  {result['training_seconds'] * 1e3:9.3f} ms ({result['training_of_roofline']:4.0%}){_peak(result)}"
        f"  error {result['error']:.1e}"
    )


def _measure_network(device: torch.device, repetitions: int) -> tuple[dict[str, Any], list[str]]:
    """What is trained and the results by name, and lines of the table."""
    from nnunet_ext.bench_scan import network

    plan = network.GPU_PLAN if device.type == "cuda" else network.CPU_PLAN
    patch = "x".join(map(str, plan.patch))
    results = network.measure_network(plan, device, repetitions)
    lines = [f"LKM-UNet, patch {patch}, batch {network.BATCH}: a training step"]
    for name, result in results.items():
        measured = "seconds" in result
        time = f"{result['seconds']:9.3f} s {_peak(result)}" if measured else f"not measured: {result['skipped']}"
        lines.append(f"  {name:<20} {time}")
    described = {"name": "LKMUNet", "patch": plan.patch, "batch": network.BATCH, "base_features": plan.base_features}
    return {**described, "results": results}, lines


def _peak(result: Result) -> str:
    return "" if result["peak_bytes"] is None else f"  {result['peak_bytes'] / 2**20:8.0f} MiB"


def _processor() -> str:
    """The processor's name where Linux tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
