"""The example of "add your own network" passes the tests of every network."""

import sys
from types import ModuleType
from typing import Any

import pytest

from ..architectures.tester import ArchitectureTester
from .example import code_blocks


@pytest.fixture(scope="module", autouse=True)
def my_network() -> Any:
    """The example as the module `my_network`."""
    module = ModuleType("my_network")
    sys.modules["my_network"] = module
    exec(code_blocks()[0], module.__dict__)
    yield module
    del sys.modules["my_network"]


def test_has_at_most_60_lines_of_at_most_120_characters() -> None:
    lines = code_blocks()[0].splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 120


def test_the_lines_that_test_it_work(my_network: ModuleType) -> None:
    namespace: dict[str, Any] = {"__name__": "test_my_network"}
    exec(code_blocks()[-1], namespace)
    assert issubclass(namespace["TestLargeKernelUNet"], ArchitectureTester)
    assert namespace["TestLargeKernelUNet"].network_class is my_network.LargeKernelUNet


class TestLargeKernelUNet(ArchitectureTester):
    @pytest.fixture(autouse=True)
    def _network_class(self, my_network: ModuleType) -> None:
        self.network_class = my_network.LargeKernelUNet
