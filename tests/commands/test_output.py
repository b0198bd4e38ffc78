import io

import pytest

from service.commands.output import LINE_EVERY_S, Meter
from service.wording import count, duration, printable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_a_line_comes_every_five_seconds() -> None:
    now = [0.0]
    stream = io.StringIO()
    with Meter("work", stream, clock=lambda: now[0]) as meter:
        for number in range(12):
            meter.show(f"{number} done")
            now[0] += 1
        meter.note("a note")
    assert LINE_EVERY_S == 5
    assert stream.getvalue().splitlines() == ["0 done", "5 done", "10 done", "a note"]


def test_on_a_terminal_a_bar_moves_and_notes_stay() -> None:
    stream = Terminal()
    with Meter("work", stream) as meter:
        meter.show("3 of 9 done", 3, 9)
        meter.note("a note")
    assert "a note" in stream.getvalue()
    assert "work" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (45, "45 s"), (120, "2 min"), (7200, "2 h"), (5400, "90 min"), (259200, "3 days")],
)
def test_spans_read_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_numbers_agree_with_their_nouns() -> None:
    assert count(1, "user") == "1 user"
    assert count(1200, "user") == "1,200 users"
    assert count(2, "thing is", "things are") == "2 things are"


def test_text_of_others_can_not_steer_a_terminal() -> None:
    assert printable("a\x1b[2J\nb") == "a�[2J�b"
