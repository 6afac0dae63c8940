"""The example of docs/add_your_own_network.md."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add_your_own_network.md"


def code_blocks() -> list[str]:
    """The page's blocks of Python, the example first."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
