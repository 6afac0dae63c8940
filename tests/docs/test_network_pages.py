"""The pages of the networks say what the code does: pictures, tables, glossaries, plans files."""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from docs.drawing.pages import DOCS, PAGES, Page
from docs.drawing.picture import description
from docs.drawing.plan import PATCH
from docs.drawing.trace import trace
from nnunet_ext import architectures
from nnunet_ext.catalogue import ENTRIES

from ..plans import unet_arguments

STALE = "is not what the code gives now: run `python -m docs.drawing` in the root of the repository"
DESCRIPTION = "{http://purl.org/dc/elements/1.1/}description"

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@every_page
def test_tables_are_those_of_the_code(page: Page) -> None:
    assert page.file.read_text() == page.updated(), f"{page.file.name} {STALE}"


@every_page
def test_pictures_show_the_networks_of_the_code(page: Page) -> None:
    content = page.picture.read_bytes()
    described = ElementTree.fromstring(content).find(f".//{DESCRIPTION}")
    expected = description(page.title, page.subtitle, page.traces[page.n_axes])
    assert described is not None
    assert described.text == expected, f"{page.picture.name} {STALE}"
    assert len(content) < 200_000


def test_the_same_network_gives_the_same_file() -> None:
    page = PAGES[1]
    assert page.drawn() == page.drawn()


@every_page
@pytest.mark.parametrize("n_axes", PATCH)
def test_rows_hold_every_parameter_of_the_catalogue(page: Page, n_axes: int) -> None:
    entry = page.entries[0]
    traced = page.traces[n_axes]
    assert sum(unit.parameters for unit in traced.units) == (entry.parameters_2d, entry.parameters_3d)[n_axes - 2]
    assert traced.rows[0].size == PATCH[n_axes]


def test_every_trainer_is_on_a_page() -> None:
    assert {entry.trainer for entry in ENTRIES} == {entry.trainer for page in PAGES for entry in page.entries}


def test_a_module_that_does_not_run_is_told() -> None:
    network = architectures.UMambaBot(1, 2, [4, 8], nn.Conv2d, 3, [1, 2], 2, 2, n_conv_per_stage=2)
    network.unused = nn.Linear(2, 3)
    with pytest.raises(ValueError, match="9 parameters of UMambaBot are in none of the modules that ran"):
        trace(network.to("meta"), 1, (16, 16))


def test_skip_connections_leave_where_the_code_takes_them() -> None:
    skips = {page.name: [row.skip for row in page.traces[2].rows if row.skip is not None] for page in PAGES}
    assert skips["mlla_unet"] == [1, 1, 1]  # the inputs of the levels
    assert skips["lkm_unet"] == [5, 4, 4, 4, 4, 4, 4]  # behind stem, two residual blocks, PiM and PaM


def _glossary(page: Page) -> Iterator[tuple[Path, str]]:
    part = page.file.read_text().split("## Glossary")[1].split("\n## ")[0]
    for line in part.splitlines():
        if match := re.search(r"\]\((.+?)\) \| (.+) \|$", line):
            for name in re.findall(r"`(.+?)`", match[2]):
                yield (page.file.parent / match[1]).resolve(), name


@every_page
def test_glossary_names_things_that_exist(page: Page) -> None:
    entries = list(_glossary(page))
    assert len(entries) >= 5
    for file, name in entries:
        content = file.read_text()
        missing = [part for part in name.split(".") if not re.search(rf"\b{part}\b", content)]
        assert not missing, f"{page.file.name}: {file.name} has no {missing} of {name}"


@every_page
def test_plans_file_of_the_page_builds_the_network(page: Page) -> None:
    (block,) = re.findall(r"```json\n(.*?)```", page.file.read_text(), re.DOTALL)
    architecture = json.loads(block)
    module, name = architecture["network_class_name"].rsplit(".", 1)
    network_class = getattr(importlib.import_module(module), name)
    assert network_class is page.network
    planned = unet_arguments((1.0,) * page.n_axes, PATCH[page.n_axes])
    with torch.device("meta"):
        network_class(input_channels=1, num_classes=2, **planned, **architecture["arch_kwargs"])


@pytest.mark.parametrize("file", sorted([*DOCS.rglob("*.md"), DOCS.parent / "README.md"]), ids=lambda file: file.stem)
def test_links_lead_to_files(file: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text()):
        if not target.startswith("http"):
            assert (file.parent / target).exists(), f"{file.name} links to {target}, which does not exist"
