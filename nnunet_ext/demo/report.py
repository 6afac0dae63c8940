"""The report page: one HTML file with its pictures inside, and the same numbers as JSON."""

import base64
import json
import math
from dataclasses import asdict
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from statistics import mean

from nnunet_ext.demo import figures
from nnunet_ext.demo.errors import DemoError
from nnunet_ext.demo.results import Network, Results
from nnunet_ext.files import write_text

CASES_SHOWN = 4
TEMPLATE = "report.html.jinja"


def check_requirements() -> None:
    """DemoError if the page cannot be written here."""
    if find_spec("jinja2") is None:
        raise DemoError("The report needs the package jinja2: pip install 'nnunet-ext[demo]'.")


def write(results: Results, out: Path) -> Path:
    """Write report.html, report.json and the pictures into `out`; returns the page's path."""
    import jinja2

    out.mkdir(parents=True, exist_ok=True)
    rows = case_rows(results, out)
    names = value_names(results.labels)
    pictures = out / "overlays"
    pictures.mkdir(exist_ok=True)
    figures.overlays(rows, names, results.source, out / "overlay.png")
    for row in rows:
        figures.overlays([row], names, results.source, pictures / f"{row.case}.png")
    figures.learning_curve(results.networks, out / "learning_curve.png")

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {"dice": show_dice, "inline": inline, "count": lambda number: f"{number:,}"}
    template = environment.from_string(files("nnunet_ext.demo").joinpath(TEMPLATE).read_text(encoding="utf-8"))
    page = out / "report.html"
    write_text(
        page,
        template.render(
            results=results,
            best=best(results.networks),
            rows=rows,
            overlays=[pictures / f"{row.case}.png" for row in rows],
            learning_curve=out / "learning_curve.png",
        ),
    )
    write_text(out / "report.json", json.dumps(_plain(asdict(results)), indent=2) + "\n")
    return page


def case_rows(results: Results, out: Path) -> list[figures.Row]:
    """The first test cases, with the files that their pictures need."""
    folder = out / "nnUNet_raw" / results.dataset
    ending = json.loads((folder / "dataset.json").read_text())["file_ending"]
    rows = []
    for case in list(results.networks[0].case_dice)[:CASES_SHOWN]:
        labels = {"truth": folder / "labelsTs" / f"{case}{ending}"}
        labels |= {net.trainer: out / "predictions" / net.trainer / f"{case}{ending}" for net in results.networks}
        image = folder / "imagesTs" / f"{case}_0000{ending}"
        rows.append(figures.Row(case, image, labels, {net.trainer: case_mean(net, case) for net in results.networks}))
    return rows


def case_mean(network: Network, case: str) -> float | None:
    """Mean Dice of a case over the tissues that occur in it."""
    found = [value for value in network.case_dice[case].values() if value is not None]
    return mean(found) if found else None


def value_names(labels: dict[str, list[int]]) -> dict[int, str]:
    """A name for every label value: that of the smallest tissue or region that holds it."""
    values = sorted({value for tissue in labels.values() for value in tissue})
    return {
        value: min((len(tissue), name) for name, tissue in labels.items() if value in tissue)[1] for value in values
    }


def best(networks: list[Network]) -> dict[str, float | None]:
    """The highest Dice of each tissue as it is printed, to be set in bold; None where all are equal."""
    highest: dict[str, float | None] = {}
    for tissue in networks[0].dice:
        shown = {show_dice(network.dice[tissue]) for network in networks}
        found = [value for network in networks if (value := network.dice[tissue]) is not None]
        highest[tissue] = max(found) if len(shown) > 1 and found else None
    return highest


def show_dice(value: float | None) -> str:
    """Three decimals, or a dash where there is no number."""
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def inline(picture: Path) -> str:
    """A PNG as a data address."""
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()


def _plain(value: object) -> object:
    """`value` with null for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
