"""The command that does the steps."""

from nnunet_ext.benchmark.errors import BenchmarkError
from nnunet_ext.demo.commands import find
from nnunet_ext.demo.errors import DemoError


def own_command() -> str:
    """Path of `nnunet-ext`; BenchmarkError if it is not there."""
    try:
        return find("nnunet-ext")
    except DemoError as error:
        raise BenchmarkError(str(error)) from error
