"""The picture of a run: a training step's time per way to compute it, one panel per case."""

from math import floor, log10
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter


def draw(report: dict[str, Any], path: Path) -> None:
    """Write the picture of the report that `main.run` makes."""
    cases = report["cases"]
    figure = Figure(figsize=(3.2 * len(cases), 2.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (case, results) in zip(figure.subplots(1, len(cases), squeeze=False)[0], cases.items(), strict=True):
        measured = {name: result for name, result in results.items() if "skipped" not in result}
        names = list(measured)
        both = [1e3 * measured[name]["training_seconds"] for name in names]
        forward = [1e3 * measured[name]["forward_seconds"] for name in names]
        bars = axes.barh(names, both, color="0.75", label="forward and backward")
        axes.bar_label(bars, [f"{ms:.0f}" if ms >= 100 else f"{ms:.3g}" for ms in both], padding=2, fontsize=7)
        axes.barh(names, forward, color="0.35", height=0.4, label="forward")
        axes.invert_yaxis()
        axes.set_xscale("log")
        # Whole decades, and room for the numbers.
        axes.set_xlim(10 ** floor(log10(min(forward, default=1))), 5 * max(both, default=1))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("ms")
        axes.set_title(f"(B, D, L) = {case}", fontsize=9)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7)
    figure.suptitle(f"Selective scan: {report['device']}, {report['dtype']}, {report['date']}", fontsize=10)
    figure.savefig(path, dpi=150)
