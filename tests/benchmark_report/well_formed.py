"""What can be checked of a LaTeX text without LaTeX."""

import re


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
    for kind, columns, content in re.findall(
        r"\\begin\{(tabular|longtable)\}\{([^\n]*)\}\n(.*?)\\end\{\1\}", text, flags=re.DOTALL
    ):
        letters = re.sub(r">\{[^}]*\}|(?<=p)\{[^}]*\}", "", columns)
        rows = [line for line in content.splitlines() if line.endswith(r" \\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(letters)}, kind
