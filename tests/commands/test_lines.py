import io
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest

from service.commands.lines import (
    LONGEST_LINE,
    BadLine,
    Participant,
    parse_time,
    read_participants,
)
from service.commands.output import CommandError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
AT = datetime(2026, 11, 20, 10, tzinfo=UTC)


def read(text: str | bytes) -> list[Participant | BadLine]:
    stream = io.BytesIO(text.encode() if isinstance(text, str) else text)
    return list(read_participants(stream, NOW))


@pytest.mark.parametrize(
    "text",
    [
        "ig_account_id,ig_user_id,last_message_at\n1,2,2026-11-20T10:00:00Z\n",
        "1,2,2026-11-20T10:00:00Z",
        "\n  \nig_user_id;LAST_MESSAGE_AT;x; ig_account_id\r\n2;2026-11-20T10:00:00+0000;9;1\r\n",
        'ig_account_id\tig_user_id\tlast_message_at\n"1"\t"2"\t1795168800\n',
        "\ufeff1,2,1795168800000",
        '{"ig_account_id": "1", "ig_user_id": 2, "last_message_at": "2026-11-20T12:00:00+02:00"}',
        '{"ig_account_id":1,"ig_user_id":"2","last_message_at":1795168800,"more":[1]}\n\n',
    ],
)
def test_every_spelling_of_a_participant_is_read(text: str) -> None:
    assert read(text) == [Participant("1", "2", AT)]


@pytest.mark.parametrize("text", ["1,2", "1,2,", '{"ig_account_id":1,"ig_user_id":2}'])
def test_without_a_time_it_is_now(text: str) -> None:
    assert read(text) == [Participant("1", "2", NOW)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1", "ig_user_id is missing"),
        (",2", "ig_account_id is missing"),
        ("1,2x", "ig_user_id is not 1 to 32 digits"),
        ("1.78E+16,2", "ig_account_id is not 1 to 32 digits (a spreadsheet has rounded it)"),
        ("1," + "2" * 33, "ig_user_id is not 1 to 32 digits"),
        ("1,2,tomorrow", "last_message_at is neither RFC 3339 nor Unix seconds"),
        ("1,2,-5", "last_message_at is neither RFC 3339 nor Unix seconds"),
        ("1,2,0001-01-01T00:00:00+14:00", "last_message_at is neither RFC 3339 nor Unix seconds"),
        ('1,"2', "is not a line of CSV"),
        ("1" * (LONGEST_LINE + 1), "is longer than 16,384 bytes"),
        ("1" * 3 * LONGEST_LINE, "is longer than 16,384 bytes"),
    ],
)
def test_a_bad_line_of_csv_costs_itself(line: str, reason: str) -> None:
    good = Participant("1", "2", NOW)
    assert read(f"1,2\n{line}\n1,2\n") == [good, BadLine(2, reason), good]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[]", "does not fit: Expected `object`, got `array`"),
        (b'{"ig_account_id":"1"}', "does not fit: Object missing required field `ig_user_id`"),
        (b'{"ig_account_id":"1","ig_user_id":true}', "does not fit: Expected"),
        (b'{"ig_account_id":"1","ig_user_id":-2}', "ig_user_id is not 1 to 32 digits"),
        (b'{"ig_account_id":"1",', "is not a JSON object"),
        (b'{"a":' + b"[" * 5000, "is not a JSON object"),
        (b'{"ig_account_id":"\xff"}', "is not UTF-8"),
        (b"1,2", "does not fit: Expected `object`, got `int`"),
    ],
)
def test_a_bad_json_line_costs_itself_and_shows_no_value(line: bytes, reason: str) -> None:
    good = b'{"ig_account_id":1,"ig_user_id":2}'
    first, bad, last = read(good + b"\n" + line + b"\n" + good)
    assert first == last == Participant("1", "2", NOW)
    assert isinstance(bad, BadLine)
    assert bad.number == 2
    assert bad.reason.startswith(reason)


def test_a_header_without_the_ids_refuses_the_whole() -> None:
    with pytest.raises(CommandError, match="no ig_user_id"):
        read("ig_account_id,user\n1,2\n")


def test_nothing_brings_nothing() -> None:
    assert read("") == read("\n\n") == read("ig_account_id,ig_user_id\n") == []


def test_a_time_in_the_future_counts_as_now() -> None:
    assert parse_time("2030-01-01T00:00:00Z", NOW) == NOW
    assert parse_time(NOW.timestamp() + 5, NOW) == NOW
    assert parse_time("2026-11-22T11:00:00", NOW) == NOW - timedelta(hours=1)


class Endless(io.RawIOBase):
    """Lines without end, made as they are read."""

    def __init__(self, lines: int) -> None:
        self._left = lines

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        line = b"17841400000000001,9000000000000001,2026-11-20T10:00:00Z\n"
        count = min(self._left, len(buffer) // len(line))
        self._left -= count
        buffer[: count * len(line)] = line * count
        return count * len(line)


def test_memory_does_not_grow_with_the_input() -> None:
    tracemalloc.start()
    try:
        stream = io.BufferedReader(Endless(10_000))
        assert (
            sum(isinstance(line, Participant) for line in read_participants(stream, NOW)) == 10_000
        )
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()
