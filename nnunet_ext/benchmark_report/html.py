"""A report as one HTML file with its figures inside."""

from importlib.resources import files

from nnunet_ext.benchmark_report.document import Document, Figure, Table
from nnunet_ext.demo.report import inline

TEMPLATE = "report.html.jinja"


def render(document: Document) -> str:
    """The text of report.html; the figures' files must be there."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {"inline": inline}
    environment.tests |= {
        "table": lambda block: isinstance(block, Table),
        "figure": lambda block: isinstance(block, Figure),
    }
    source = files("nnunet_ext.benchmark_report").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source).render(document=document)
