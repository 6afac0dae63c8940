"""One document in three formats: special characters, shapes of tables, and LaTeX that is well formed."""

import re
from pathlib import Path

import pytest

from nnunet_ext.benchmark_report import html, latex, markdown
from nnunet_ext.benchmark_report.document import Column, Document, Figure, Section, Table, fixed, p_value

from .well_formed import check_latex

NASTY = r"a_b & 50 % <x> $1 #2 {c} ~d ^e \f |g| *h*"


@pytest.fixture
def document(tmp_path: Path) -> Document:
    picture = tmp_path / "some_figure.png"
    picture.write_bytes(b"\x89PNG")
    table = Table(
        "t",
        f"Caption {NASTY}",
        [Column("network"), Column(NASTY, fixed(2), "highest"), Column("p", p_value)],
        [["net_one", 0.914, 0.0004], ["net_two", 0.899, None], [NASTY, "2/5 folds", float("nan")]],
    )
    words = Table("w", NASTY, [Column("network"), Column(NASTY, words=2), Column("b", words=1)], [["a_b", NASTY, "c"]])
    sub = Section("Sub", [Figure(picture, "Fig_1")], level=2)
    return Document("Title_1", [Section("Part_1", [NASTY, table, words]), sub])


def test_latex_is_well_formed(document: Document) -> None:
    text = latex.render(document)
    check_latex(text)
    assert r"net\_one & \textbf{0.91} & \textless{}0.001 \\" in text
    assert r"\includegraphics" in text
    for command in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(command) == 2
    assert r"p{0.333\linewidth}" in text


def test_markdown_tables_have_equal_rows(document: Document) -> None:
    text = markdown.render(document)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 8
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
    assert "| net_one | **0.91** | \\<0.001 |" in text
    assert "![some_figure](figures/some_figure.png)\n\n*Fig_1*" in text


def test_html_escapes_text(document: Document) -> None:
    text = html.render(document)
    assert "&lt;x&gt;" in text
    assert "<x>" not in text
    assert "<td><b>0.91</b></td>" in text
    assert '<img src="data:image/png;base64,' in text
    assert '<h3 id="s1">Sub</h3>' in text


def test_values_that_print_alike_are_all_best() -> None:
    table = Table("t", "", [Column("v", fixed(2), "lowest")], [[1.001], [1.004], [1.2], [None]])
    assert table.shown() == [[("1.00", True)], [("1.00", True)], [("1.20", False)], [("–", False)]]  # noqa: RUF001
