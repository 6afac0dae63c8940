"""One document in three formats: special characters, shapes of tables, and LaTeX that is well formed."""

import re
from pathlib import Path

import pytest

from nnunet_ext.benchmark_report import html, latex, markdown
from nnunet_ext.benchmark_report.document import Column, Document, Figure, Section, Table, fixed, p_value

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
    return Document("Title_1", [Section("Part_1", [NASTY, table]), Section("Sub", [Figure(picture, "Fig_1")], level=2)])


def test_latex_is_well_formed(document: Document) -> None:
    text = latex.render(document)
    check_latex(text)
    assert r"net\_one & \textbf{0.91} & \textless{}0.001 \\" in text
    assert r"\includegraphics" in text
    for command in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(command) == 1


def check_latex(text: str) -> None:
    """Environments and braces are balanced, and no special character of LaTeX stands unescaped in running text."""
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    bare = re.sub(r"\\[\\{}%&_#$]", "", text)  # without escaped characters
    depth = 0
    for letter in bare:
        depth += (letter == "{") - (letter == "}")
        assert depth >= 0
    assert depth == 0
    body = bare.split(r"\begin{document}")[1]
    body = re.sub(r"\\includegraphics\[[^]]*\]\{[^}]*\}", "", body)
    assert not re.search(r"[_#$^~]", body)
    assert all(line.count("%") == line.endswith(r"\fitted{%") for line in body.splitlines())
    for tabular in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, flags=re.DOTALL):
        columns, content = tabular
        rows = [line for line in content.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}


def test_markdown_tables_have_equal_rows(document: Document) -> None:
    text = markdown.render(document)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 5
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
