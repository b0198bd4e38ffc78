"""Numbers, spans of time and text of others, in the words that operators read."""

from __future__ import annotations

import shlex


def printable(text: str) -> str:
    """Show text of others without the control characters that would steer a terminal."""
    return "".join(ch if ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in text)


def printable_lines(text: str) -> str:
    """Show text as `printable` does, but keep its lines."""
    return "\n".join(map(printable, text.split("\n")))


def shell_word(text: str) -> str:
    """Write text as one word of a command that may be pasted into a shell.

    What a terminal would obey or not show is written as an escape, which bash and zsh read.
    """
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_shell_character, text)) + "'"


def _shell_character(ch: str) -> str:
    if ch.isprintable():
        return f"\\{ch}" if ch in "\\'" else ch
    return f"\\U{ord(ch):08x}"


def duration(seconds: float) -> str:
    """Put a span of time the way people say it: 45 s, 12 min, 3 h, 2 days."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds)} s"


def count(number: int, one: str, many: str = "") -> str:
    """Put a number before its noun: 1 user, 1,200 users."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
