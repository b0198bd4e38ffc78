import errno
import io
import json
import logging
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TextIO

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from service.logs import LOST_LINES, configure_logs, flush_logs, traceback_without_values
from tests.strategies import JSON_VALUES, SCALARS

WITHIN_S = 45.0
LOST = "log lines were lost: standard output did not accept them"
HOSTILE = 'a\nb\r\u2028\u0085"{\\ \x1b[31m \0 \ud83d cut \N{GRINNING FACE}'


class FullDisk(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


class ClosedPipe(io.StringIO):
    def flush(self) -> None:
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave the process's logs as they were."""
    root = logging.getLogger()
    handlers, level, lost = root.handlers[:], root.level, LOST_LINES.count
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    root.handlers[:], LOST_LINES.count = handlers, lost
    root.setLevel(level)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> "Lines":
    configure_logs("json", "info")
    return Lines(capsys)


class Lines:
    """What has been written to standard output."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def read(self) -> list[str]:
        assert flush_logs(WITHIN_S)
        return self._capsys.readouterr().out.split("\n")[:-1]

    def only(self) -> dict[str, Any]:
        (line,) = self.read()
        event = json.loads(line)
        assert isinstance(event, dict)
        return event


def fail_with_a_secret() -> None:
    access_token = "hunter2-" * 2
    raise ValueError(f"no token of length {len(access_token)}")


def test_an_event_is_one_json_object_with_its_level_and_utc_time(lines: Lines) -> None:
    structlog.get_logger().warning("something happened", ig_user_id="5", fail_count=2)
    event = lines.only()
    assert datetime.fromisoformat(event.pop("timestamp")).tzinfo is UTC
    assert event == {
        "event": "something happened",
        "level": "warning",
        "ig_user_id": "5",
        "fail_count": 2,
    }


def test_a_hostile_text_stays_in_its_line_and_is_kept(lines: Lines) -> None:
    structlog.get_logger().info(HOSTILE, **{HOSTILE: [HOSTILE]})
    event = lines.only()
    assert event["event"] == HOSTILE
    assert event[HOSTILE] == [HOSTILE]


@given(st.text(), st.dictionaries(st.text().map(lambda key: f"x{key}"), JSON_VALUES))
def test_every_event_is_one_json_object_a_line(
    lines: Lines, event: str, fields: dict[str, object]
) -> None:
    structlog.get_logger().info(event, **fields)
    assert lines.only()["event"] == event


def test_times_are_rfc_3339_and_what_json_has_no_form_for_is_text(lines: Lines) -> None:
    at = datetime(2026, 11, 22, 10, tzinfo=UTC)
    structlog.get_logger().info("x", next_attempt_at=at, secret={1}, raw=b"\xff")
    event = lines.only()
    assert event["next_attempt_at"] == "2026-11-22T10:00:00Z"
    assert (event["secret"], event["raw"]) == ("{1}", r"b'\xff'")


@pytest.mark.parametrize(("level", "said"), [("info", 3), ("warning", 2), ("error", 1)])
def test_only_what_reaches_the_level_is_written(
    capsys: pytest.CaptureFixture[str], level: str, said: int
) -> None:
    configure_logs("json", level)
    log = structlog.get_logger()
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert len(Lines(capsys).read()) == said


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_is_told_without_the_values_in_it(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    configure_logs(log_format, "info")
    try:
        fail_with_a_secret()
    except ValueError:
        structlog.get_logger().exception("it failed")
    shown = "\n".join(Lines(capsys).read())
    assert "no token of length 16" in shown
    assert "fail_with_a_secret" in shown
    assert "hunter2-hunter2-" not in shown


def test_a_traceback_is_part_of_its_line(lines: Lines) -> None:
    try:
        fail_with_a_secret()
    except ValueError:
        structlog.get_logger().exception("it failed")
    assert lines.only()["exception"][0]["exc_type"] == "ValueError"


def test_a_librarys_record_is_an_event_like_ours(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "info")  # here: pytest's own handlers would keep the hostile text
    logging.getLogger("a.library").warning("%s is %d", HOSTILE, 5)
    event = Lines(capsys).only()
    assert (event["event"], event["logger"]) == (f"{HOSTILE} is 5", "a.library")
    assert event["level"] == "warning"


def test_a_librarys_chatter_is_left_out(lines: Lines) -> None:
    logging.getLogger("a.library").info("chatter")
    assert lines.read() == []


def test_a_librarys_failure_is_told(lines: Lines) -> None:
    try:
        fail_with_a_secret()
    except ValueError:
        logging.getLogger("a.library").exception("it failed")
    assert lines.only()["exception"][0]["exc_value"] == "no token of length 16"


@pytest.mark.parametrize(
    ("level", "message", "arguments"),
    [(logging.WARNING, "%d", ("no number",)), (35, "a level of its own", ())],
)
def test_a_record_that_cannot_be_written_does_not_fail_the_library(
    capsys: pytest.CaptureFixture[str], level: int, message: str, arguments: tuple[str, ...]
) -> None:
    configure_logs("json", "info")  # here and not before: pytest's own handlers would raise
    logging.getLogger("a.library").log(level, message, *arguments)
    assert message in Lines(capsys).only()["event"]


@pytest.mark.parametrize(
    "stream", [FullDisk(), ClosedPipe(), io.TextIOWrapper(io.BytesIO(), "ascii")]
)
def test_a_line_that_cannot_be_written_costs_only_itself(
    monkeypatch: pytest.MonkeyPatch, stream: io.TextIOBase
) -> None:
    monkeypatch.setattr("sys.stdout", stream)
    configure_logs("console", "info")
    lost = LOST_LINES.count
    structlog.get_logger().info("a \N{GRINNING FACE} b", x="é")
    assert flush_logs(WITHIN_S)
    assert LOST_LINES.count == lost + 1


def test_after_a_full_disk_the_next_line_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, disk_is_full = io.StringIO(), FullDisk().write
    monkeypatch.setattr("sys.stdout", stream)
    configure_logs("json", "info")
    log = structlog.get_logger()
    with monkeypatch.context() as filled:
        filled.setattr(stream, "write", disk_is_full)
        log.info("lost")
        assert flush_logs(WITHIN_S)
    log.info("written")
    written, told = map(json.loads, until_lines(stream, 2))
    assert written["event"] == "written"
    assert (told["event"], told["lines"]) == (LOST, 1)


def until_lines(stream: io.StringIO, count: int) -> list[str]:
    """Wait for the writer to have written so many lines."""
    while len(lines := stream.getvalue().splitlines()) < count:
        assert flush_logs(WITHIN_S)
        time.sleep(0.001)
    return lines


class Pipe:
    """A pipe that a test reads or does not; what is written to it goes through standard output."""

    def __init__(self, reader: TextIO, writer: TextIO) -> None:
        self.reader = reader
        self.writer = writer

    def read_until(self, event: str) -> list[dict[str, Any]]:
        """Read lines until one has this event."""
        lines = [json.loads(self.reader.readline())]
        while lines[-1]["event"] != event:
            lines.append(json.loads(self.reader.readline()))
        return lines


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    reads, writes = os.pipe()
    with os.fdopen(reads) as reader, os.fdopen(writes, "w") as writer:
        monkeypatch.setattr("sys.stdout", writer)
        configure_logs("json", "info")
        structlog.get_logger().info("begins")  # pytest puts its own output back after this
        assert flush_logs(WITHIN_S)
        reader.readline()
        yield Pipe(reader, writer)
        assert flush_logs(WITHIN_S)


def test_a_reader_that_stalls_stops_nobody_and_what_was_lost_is_told(pipe: Pipe) -> None:
    lost, written = LOST_LINES.count, 12_000
    log = structlog.get_logger()
    for number in range(written):  # some 6 MB: more than the pipe and the buffer together
        log.info("a line", number=number, filling="x" * 400)
    lost = LOST_LINES.count - lost
    assert 0 < lost < written
    assert not flush_logs(0.05)
    *lines, told = pipe.read_until(LOST)
    assert told["lines"] == lost
    assert [line["number"] for line in lines] == list(range(written - lost))
    log.info("goes on")
    assert pipe.read_until("goes on")


def test_a_torn_line_does_not_tear_the_next(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with monkeypatch.context() as disk:
        tries = iter([True])

        def fill(descriptor: int, content: bytes) -> int:
            if next(tries, False):
                return write(descriptor, content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

        disk.setattr("os.write", fill)
        structlog.get_logger().info("torn")
        assert flush_logs(WITHIN_S)
    structlog.get_logger().info("whole")
    assert len(pipe.reader.readline()) == 11
    assert json.loads(pipe.reader.readline())["event"] == "whole"


def test_a_pipe_that_another_process_made_non_blocking_loses_nothing(pipe: Pipe) -> None:
    lost = LOST_LINES.count
    os.set_blocking(pipe.writer.fileno(), False)
    for _ in range(500):
        structlog.get_logger().info("a line", filling="x" * 400)
    structlog.get_logger().info("the last")
    assert len(pipe.read_until("the last")) == 501
    assert LOST_LINES.count == lost


@given(SCALARS | st.text().map(lambda text: f"{HOSTILE}{text}"))
def test_on_a_terminal_too_an_event_is_one_line_without_control_characters(
    capsys: pytest.CaptureFixture[str], value: object
) -> None:
    configure_logs("console", "info")
    structlog.get_logger().info("said", value=value)
    (line,) = Lines(capsys).read()
    assert line.isprintable()


def test_without_a_format_what_is_not_a_terminal_gets_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs(None, "info")
    structlog.get_logger().info("x")
    assert Lines(capsys).only()["event"] == "x"


def test_a_traceback_without_values_has_places_and_types_of_every_cause() -> None:
    nothing: dict[str, int] = {}

    def fail() -> None:
        try:
            nothing["a secret"]
        except KeyError:
            int("another secret")

    with pytest.raises(ValueError, match="another secret") as raised:
        fail()
    text = traceback_without_values(raised.value)
    assert text.count("Traceback (most recent call last)") == 2
    assert text.index("KeyError") < text.index("ValueError")
    assert "in fail" in text
    assert "literal for int()" not in text
