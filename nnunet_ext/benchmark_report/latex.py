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
% A table keeps its size unless it is wider than the page.
\newcommand{\fitted}[1]{\sbox0{#1}\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi}
"""
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
    parts = [PREAMBLE, rf"\title{{{escape(document.title)}}}", r"\date{}", r"\begin{document}", r"\maketitle"]
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
        rows = [
            [rf"\textbf{{{escape(text)}}}" if best else escape(text) for text, best in row] for row in block.shown()
        ]
        return "\n".join(
            [
                r"\begin{table}[H]",
                rf"\caption{{{escape(block.caption)}}}",
                r"\centering\small",
                r"\fitted{%",
                rf"\begin{{tabular}}{{l{'r' * (len(block.columns) - 1)}}}",
                r"\toprule",
                _row([escape(column.title) for column in block.columns]),
                r"\midrule",
                *map(_row, rows),
                r"\bottomrule",
                r"\end{tabular}}",
                r"\end{table}",
            ]
        )
    return escape(block)


def _cell(text: str, best: bool) -> str:
    return rf"\textbf{{{escape(text)}}}" if best else escape(text)


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"
