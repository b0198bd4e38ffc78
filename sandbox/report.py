"""The sandbox's output: plain lines that can be searched and pasted."""

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sandbox.environment import first
from sandbox.sample_traffic import RESOLVED, SAMPLE_LOCATION
from sandbox.service_client import PREFIX, Finding

_NARROW = 110  # columns of a terminal that is too narrow for the whole table
_WIDE = 200  # columns without a terminal: nothing wraps in a file or a pipe


class Report:
    """The sandbox's output: progress and results on stdout, errors on stderr."""

    def __init__(self) -> None:
        self._out = _console(stderr=False)
        self._err = _console(stderr=True)
        self._step, self._steps = 0, 0

    def expect_steps(self, steps: int) -> None:
        """Set the number of the following steps."""
        self._steps = steps

    def step(self, text: str) -> None:
        """Print that the next step of the start begins."""
        self._step += 1
        self.line(f"[{self._step}/{self._steps}] {text}")

    def event(self, text: str) -> None:
        """Print an event with the time."""
        self.line(f"{datetime.now().astimezone():%H:%M:%S}  {text}")

    def line(self, text: str = "", style: str = "") -> None:
        """Print one line."""
        self._out.print(Text(text, style), soft_wrap=True)

    def trouble(self, text: str) -> None:
        """Print an error and what to do."""
        self._err.print(Text(f"sandbox: {text}", "red"), soft_wrap=True)

    def findings(self, findings: Sequence[Finding]) -> None:
        """Show the result of every sender; below a wrong one, what was expected."""
        self.line()
        with self._out.capture() as rendered:
            self._out.print(_table(findings, is_narrow=self._out.width < _NARROW))
        for row in rendered.get().splitlines():
            self._out.out(row.rstrip(), highlight=False)
        self.line()
        wrong = [finding for finding in findings if not finding.ok]
        for finding in wrong:
            self.trouble(_expectation(finding))
        if not wrong:
            self.line(f"All {len(findings)} senders got what they should.", "green")

    def world(
        self,
        url: str,
        settings: Mapping[str, str],
        environment: Sequence[str],
        places: Mapping[str, str],
    ) -> None:
        """Show the URLs, the keys, and the settings as lines for another process."""
        pages = {"service": url, "console": f"{url}/console", "API docs": f"{url}/docs"}
        self._section("where", _columns({**pages, **places}))
        keys = {
            "inbox": first(settings["INBOX_API_KEYS"]),
            "operator": first(settings["OPERATOR_API_KEYS"]),
        }
        self._section("keys", _columns(keys))
        self._section("environment", environment)

    def commands(self, url: str, settings: Mapping[str, str], *, real_graph: bool) -> None:
        """Show commands to paste: a lookup, the status, and a backfill or a connection."""
        last = _connect(url, settings) if real_graph else _backfill(url, settings)
        self._section("try", [*_look(url, settings), last])

    def _section(self, title: str, lines: Iterable[str]) -> None:
        self.line()
        self.line(title, "bold")
        for line in lines:
            self.line(line)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def _table(findings: Sequence[Finding], *, is_narrow: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    columns = ("sender", "what it is", "name", "reason", "state", "picture", "ok?")
    left_out = {"state", "picture"} if is_narrow else set()
    for column in columns:
        if column not in left_out:
            table.add_column(column, overflow="fold", no_wrap=column != "what it is")
    for finding in findings:
        verdict = Text("ok", "green") if finding.ok else Text("wrong", "red")
        cells = dict(zip(columns, (Text(cell) for cell in _cells(finding)), strict=False))
        shown = [cell for column, cell in cells.items() if column not in left_out]
        table.add_row(*shown, verdict)
    return table


def _cells(finding: Finding) -> tuple[str, ...]:
    sender, got = finding.sender, finding.got
    who = (sender.ig_user_id, sender.what)
    if got is None:
        return (*who, "-", "-", "missing", "-")
    picture = "yes" if got.picture_url else "-"
    return (*who, got.display_name, got.reason or "-", got.state, picture)


def _expectation(finding: Finding) -> str:
    sender = finding.sender
    reason = f", reason {sender.reason}" if sender.reason else ", no reason"
    picture = ", a picture" if sender.has_picture else ", no picture"
    wanted = f"{sender.display_name}, {sender.state}{reason}{picture}"
    return f"{sender.ig_user_id} ({sender.what}) should have: {wanted}"


def _columns(rows: Mapping[str, str]) -> list[str]:
    width = max(len(name) for name in rows)
    return [f"{name.ljust(width)}  {value}" for name, value in rows.items()]


def _look(url: str, settings: Mapping[str, str]) -> list[str]:
    return [
        _curl(settings["INBOX_API_KEYS"], f"{url}{PREFIX}/users/{RESOLVED.ig_user_id}"),
        _curl(settings["OPERATOR_API_KEYS"], f"{url}{PREFIX}/status"),
    ]


def _backfill(url: str, settings: Mapping[str, str]) -> str:
    path = f"{PREFIX}/messages/backfill?locationId={SAMPLE_LOCATION}&days=7"
    return _curl(settings["OPERATOR_API_KEYS"], url + path, "-X", "POST")


def _connect(url: str, settings: Mapping[str, str]) -> str:
    body = '{"locationId": "LOCATION", "accessToken": "TOKEN"}'
    options = ("-X", "PUT", "-H", "Content-Type: application/json", "-d", body)
    return _curl(settings["OPERATOR_API_KEYS"], f"{url}{PREFIX}/connections/ACCOUNT", *options)


def _curl(keys: str, url: str, *options: str) -> str:
    return shlex.join(["curl", "-sS", *options, "-H", f"Authorization: Bearer {first(keys)}", url])
