"""The table of `nnunet-ext convert --list`."""

from rich import box
from rich.table import Table

from nnunet_ext.datasets.registry import BENCHMARKS


def table() -> Table:
    """All benchmarks: what, splits, where to get them, licence."""
    result = Table(box=box.HORIZONTALS, show_lines=True)
    result.add_column("name", no_wrap=True)
    result.add_column("default\nnumber", no_wrap=True)
    result.add_column("what, where from, licence", overflow="fold")
    for benchmark in BENCHMARKS.values():
        splits = "\n".join(
            f"{'split' if index else 'default split'} {name}: {about}"
            for index, (name, about) in enumerate(benchmark.splits.items())
        )
        result.add_row(
            benchmark.name,
            str(benchmark.dataset_id),
            f"{benchmark.title}\nfrom: {benchmark.obtain}\nlicence: {benchmark.licence}\n{splits}",
        )
    return result
