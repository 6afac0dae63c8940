"""One run: all cases, all scans, a table in JSON and a picture."""

import datetime
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from nnunet_ext.bench_scan import roofline
from nnunet_ext.bench_scan.cases import CPU_CASES, GPU_CASES, Case, make_inputs, parse
from nnunet_ext.bench_scan.figure import draw
from nnunet_ext.bench_scan.measure import measure, reference
from nnunet_ext.bench_scan.rivals import LONGEST_SLOW, SLOW, scans
from nnunet_ext.versions import versions

PACKAGES = ("torch", "triton", "numba", "mamba-ssm", "mambapy", "nnunet-ext")


def run(shapes: Sequence[str], device: str, dtype: str, repetitions: int, out: Path) -> list[str]:
    """Measure, write `out`/scan.json and `out`/scan.png, and return the lines of a table to print.

    Args:
        shapes: "B,D,L" or "B,D,L,N" each; none for those of LKM-UNet (on a CPU two small ones).
        device: "auto", "cuda", "mps" or "cpu".
        dtype: "float32", "bfloat16" or "float16", of the sequences.
        repetitions: runs of which the median counts.
        out: folder, made if it does not exist.

    Raises:
        ValueError: a shape is not understood.
    """
    where = _device(device)
    usual = GPU_CASES if where.type == "cuda" else CPU_CASES
    cases = [parse(shape) for shape in shapes] or list(usual)
    bandwidth, exponentials = roofline.bandwidth(where), roofline.exponentials(where)
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else f"{where.type} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "versions": versions(PACKAGES),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "dtype": dtype,
        "repetitions": repetitions,
        "bytes_per_second": bandwidth,
        "exponentials_per_second": exponentials,
        "cases": {},
    }
    lines = [f"{report['device']}, {dtype}; medians of {repetitions}; floor: the roofline's part of the time"]
    for case in cases:
        floors = [
            roofline.floor_seconds(case, getattr(torch, dtype), way, bandwidth, exponentials) for way in (False, True)
        ]
        lines.append(
            f"(B, D, L) = {case}: floor {floors[0] * 1e3:.3g} ms forward, {floors[1] * 1e3:.3g} ms with backward"
        )
        report["cases"][str(case)] = results = _measure_all(case, where, getattr(torch, dtype), repetitions)
        for name, result in results.items():
            if "forward_seconds" in result:
                result["forward_of_roofline"] = floors[0] / result["forward_seconds"]
                result["training_of_roofline"] = floors[1] / result["training_seconds"]
            lines.append("  " + _line(name, result))
    out.mkdir(parents=True, exist_ok=True)
    (out / "scan.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    draw(report, out / "scan.png")
    return [*lines, f"written: {out / 'scan.json'}, {out / 'scan.png'}"]


def _measure_all(case: Case, device: torch.device, dtype: torch.dtype, repetitions: int) -> dict[str, dict[str, Any]]:
    """By name: the measurement, or why there is none."""
    results: dict[str, dict[str, Any]] = {}
    inputs = make_inputs(case, device, dtype)
    exact = reference(inputs)
    for name, scan in scans(device).items():
        if name in SLOW and case.length > LONGEST_SLOW:
            results[name] = {"skipped": f"a loop over {case.length} steps"}
            continue
        try:
            results[name] = measure(scan, inputs, exact, repetitions)._asdict()
        except torch.OutOfMemoryError:
            results[name] = {"skipped": "out of memory"}
    return results


def _line(name: str, result: dict[str, Any]) -> str:
    if "skipped" in result:
        return f"{name:<14} not measured: {result['skipped']}"
    peak = "" if result["peak_bytes"] is None else f"  {result['peak_bytes'] / 2**20:8.0f} MiB"
    return (
        f"{name:<14} {result['forward_seconds'] * 1e3:9.3f} ms ({result['forward_of_roofline']:4.0%})"
        f"  {result['training_seconds'] * 1e3:9.3f} ms ({result['training_of_roofline']:4.0%}){peak}"
        f"  error {result['error']:.1e}"
    )


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
