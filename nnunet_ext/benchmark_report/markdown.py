"""A report as Markdown, with its figures beside it."""

import re

from nnunet_ext.benchmark_report.document import Document, Figure, Table


def render(document: Document) -> str:
    """The text of report.md."""
    parts = [f"# {escape(document.title)}"]
    for section in document.sections:
        parts.append(f"{'#' * (section.level + 1)} {escape(section.title)}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text without the characters that Markdown takes for its own."""
    return re.sub(r"([\\`*|<])", r"\\\1", text)


def _block(block: str | Table | Figure) -> str:
    if isinstance(block, Figure):
        return f"![{block.path.stem}](figures/{block.path.name})\n\n*{escape(block.caption)}*"
    if isinstance(block, Table):
        lines = [
            _row([escape(column.title) for column in block.columns]),
            _row([":---", *(":---" if column.words else "---:" for column in block.columns[1:])]),
            *(_row([f"**{escape(text)}**" if best else escape(text) for text, best in row]) for row in block.shown()),
        ]
        return f"*{escape(block.caption)}*\n\n" + "\n".join(lines)
    return escape(block)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
