"""A report as a LaTeX document with booktabs tables, with its figures beside it."""

import re

from nnunet_ext.benchmark_report.document import Document, Figure, Table

# XeLaTeX and LuaLaTeX read the dash and the accents as they are, pdfLaTeX by inputenc.
PREAMBLE = r"""\documentclass[a4paper]{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage{float}
\usepackage{array}
\usepackage{longtable}
% A table keeps its size unless it is wider than the page.
\newcommand{\fitted}[1]{\sbox0{#1}\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi}
"""
WORDS = 0.5
"""The part of the line that columns of sentences share."""
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",  # noqa: RUF001
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "−": r"\ensuremath{-}",  # noqa: RUF001
} | {character: f"\\{character}" for character in "&%$#_{}"}


def render(document: Document) -> str:
    """The text of report.tex."""
    parts = [PREAMBLE, rf"\title{{{escape(document.title)}}}", r"\author{}\date{}", r"\begin{document}", r"\maketitle"]
    for section in document.sections:
        command = "section" if section.level == 1 else "subsection"
        parts.append(rf"\{command}{{{escape(section.title)}}}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join([*parts, r"\end{document}"]) + "\n"


def escape(text: str) -> str:
    """Text without the characters that LaTeX takes for its own."""
    return re.sub("[" + re.escape("".join(SPECIAL)) + "]", lambda match: SPECIAL[match[0]], text)


def _block(block: str | Table | Figure) -> str:
    if isinstance(block, Figure):
        return "\n".join(
            [
                r"\begin{figure}[H]",
                r"\centering",
                rf"\includegraphics[width=\linewidth,height=0.8\textheight,keepaspectratio]{{figures/{block.path.name}}}",
                rf"\caption{{{escape(block.caption)}}}",
                r"\end{figure}",
            ]
        )
    if isinstance(block, Table):
        return _long_table(block) if block.wordy else _table(block)
    return escape(block)


def _table(table: Table) -> str:
    return "\n".join(
        [
            r"\begin{table}[H]",
            rf"\caption{{{escape(table.caption)}}}",
            r"\centering\small",
            r"\fitted{%",
            rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            *_head(table),
            *(_row([_cell(text, best) for text, best in row]) for row in table.shown()),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
    )


def _long_table(table: Table) -> str:
    """Sentences in columns of fixed width, over as many pages as they need."""
    share = WORDS / sum(column.words for column in table.columns)
    rows = [
        [
            _breakable(text) if column.words else escape(text)
            for (text, _), column in zip(row, table.columns, strict=True)
        ]
        for row in table.shown()
    ]
    form = "".join(
        rf">{{\raggedright\arraybackslash}}p{{{share * column.words:.3f}\linewidth}}" if column.words else "l"
        for column in table.columns
    )
    return "\n".join(
        [
            r"{\scriptsize\setlength{\tabcolsep}{2pt}",
            rf"\begin{{longtable}}{{{form}}}",
            rf"\caption{{{escape(table.caption)}}}\\",
            *_head(table),
            r"\endhead",
            *map(_row, rows),
            r"\bottomrule",
            r"\end{longtable}}",
        ]
    )


def _breakable(text: str) -> str:
    """Text in which paths and addresses may go on in the next line."""
    return escape(text).replace("/", r"/\allowbreak{}").replace(r"\_", r"\_\allowbreak{}")


def _head(table: Table) -> list[str]:
    return [r"\toprule", _row([escape(column.title) for column in table.columns]), r"\midrule"]


def _cell(text: str, best: bool) -> str:
    return rf"\textbf{{{escape(text)}}}" if best else escape(text)


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"
