"""Numbers, spans of time and text of others, in the words that operators read."""

from __future__ import annotations


def printable(text: str) -> str:
    """Show text of others without the control characters that would steer a terminal."""
    return "".join(ch if ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in text)


def duration(seconds: float) -> str:
    """Put a span of time the way people say it: 45 s, 12 min, 3 h, 2 days."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds)} s"


def count(number: int, one: str, many: str = "") -> str:
    """Put a number before its noun: 1 user, 1,200 users."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
