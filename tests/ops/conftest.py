"""Scans of a few numbers are slower in two threads than in one."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread(_same_every_time: None) -> None:
    torch.set_num_threads(1)
