"""What docs/callers.md shows: the files, and the commands to run beside them."""

import re
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "callers.md"
_BLOCK = re.compile(r"^```(\w+)\n(.+?)^```$", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"(?:#|//) ([\w.]+): ")
_FETCHES = ("curl", "npm", "pip")  # done for the tests beforehand


def section(heading: str) -> list[tuple[str, str]]:
    """Give the blocks under a heading, each with its language."""
    [text] = re.findall(
        rf"^## {heading}\n(.+?)(?=^## |\Z)", GUIDE.read_text(), re.DOTALL | re.MULTILINE
    )
    return _BLOCK.findall(text)


def write_files(heading: str, folder: Path) -> None:
    """Write the files that a section shows; a comment in the first line names each."""
    for _, text in section(heading):
        if named := _NAME.match(text):
            (folder / named[1]).write_text(text)


def commands(heading: str, **values: str) -> list[list[str]]:
    """Give a section's commands as words, the variables in them replaced."""
    shown = "".join(text for language, text in section(heading) if language == "sh")
    for name, value in values.items():
        shown = shown.replace(f'"${name}"', value)
    lines = [line.removeprefix("npx ").split() for line in shown.replace("\\\n", "").splitlines()]
    return [words for words in lines if words[0] not in _FETCHES]
