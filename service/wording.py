"""Formats numbers, durations and untrusted text for operators."""

from __future__ import annotations

import shlex


def printable(text: str) -> str:
    """Escape the control characters of untrusted text, which a terminal would interpret."""
    return "".join(ch if ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in text)


def printable_lines(text: str) -> str:
    """Escape as `printable` does, but keep line ends."""
    return "\n".join(map(printable, text.split("\n")))


def shell_word(text: str) -> str:
    """Quote text as one word of a shell command that can be pasted.

    Control and invisible characters become escapes that bash and zsh understand.
    """
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_shell_character, text)) + "'"


def _shell_character(ch: str) -> str:
    if ch.isprintable():
        return f"\\{ch}" if ch in "\\'" else ch
    return f"\\U{ord(ch):08x}"


def duration(seconds: float) -> str:
    """Format a duration for people: 45 s, 12 min, 3 h, 2 days."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds)} s"


def count(number: int, one: str, many: str = "") -> str:
    """Format a number with its noun: 1 user, 1,200 users."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
