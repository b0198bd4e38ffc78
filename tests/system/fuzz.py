"""`make fuzz`: mutated webhooks and Graph answers for a given time, then schemathesis."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import asyncpg
import click
from hypothesis import HealthCheck, given, settings

from sandbox import samples
from service.errors import GraphError
from service.graph.answers import read_profile
from service.graph.calls import Answer, decode
from service.graph.usage import Usage, read_usage
from service.model.calls import Profile
from service.model.contacts import ig_id
from tests.system import mutated
from tests.system.chaos.processes import HOST, PROJECT
from tests.system.chaos.rig import ACCOUNTS, PREFIX, Rig, machinery, rig, scratch_folder
from tests.system.chaos.verdict import complaints

EXAMPLES = 500
ANSWERED_WITHIN_S = 10
ANSWERS_TO_SIGNED = {200, 400, 413, 503}
STATUSES = (200, 400, 403, 404, 429, 500, 503)
SCHEMATHESIS = PROJECT / "tests" / "service" / "test_schemathesis.py"
SENTINEL = "9999999999999999"
_SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass
class Tried:
    """The number of examples and their results."""

    answers: Counter[str] = field(default_factory=Counter)
    graph: Counter[str] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)
    unreadable: int = 0
    faults: list[str] = field(default_factory=list)


@click.command()
@click.option("--seconds", default=120, show_default=True, help="How long, all kinds together.")
def main(seconds: int) -> None:
    """Try mutated webhooks and Graph answers, then every route; fail after a wrong reaction."""
    began_at = time.monotonic()
    tried = asyncio.run(_fuzz(seconds / 2))
    print(f"webhooks tried: {tried.answers.total()} {dict(tried.answers)}")
    print(f"Graph answers tried: {tried.graph.total()} {dict(tried.graph)}")
    for fault in tried.faults:
        print(f"FAULT: {fault}")
    left_s = max(1.0, seconds - (time.monotonic() - began_at))
    sys.exit(1 if tried.faults or not _schemathesis(left_s) else 0)


async def _fuzz(seconds: float) -> Tried:
    tried = Tried()
    with scratch_folder() as name:
        folder = Path(name)
        async with (
            machinery(folder) as (postgres, graph, keys),
            rig(folder, postgres, graph, keys, GRAPH_CALLS_PER_SECOND="200") as made,
        ):
            await made.start_services()
            await made.fetch(
                "INSERT INTO instagram_user_cache (ig_user_id, username) VALUES ($1, 'sentinel')",
                SENTINEL,
            )
            await asyncio.to_thread(fuzz_webhooks, made, tried, seconds / 2)
            await _fuzz_answers(made, tried, seconds / 2)
            await _judge(made, tried)
    return tried


def fuzz_webhooks(made: Rig, tried: Tried, seconds: float) -> None:
    """Send signed, mutated deliveries until the time is up."""
    client = HTTPConnection(HOST, made.services[0].port, timeout=ANSWERED_WITHIN_S)

    @_SETTINGS
    @given(mutated.mutated(mutated.deliveries()))
    def deliver(body: bytes) -> None:
        tried.ids |= (found := mutated.ids_in(body))
        tried.unreadable += not found
        answer = _post(client, body, made.keys.app_secret)
        tried.answers[str(answer)] += 1
        if answer not in ANSWERS_TO_SIGNED:
            raise AssertionError(f"answered {answer} to {body[:2000]!r}")

    _repeat(deliver, tried, seconds)
    client.close()


def _post(client: HTTPConnection, body: bytes, app_secret: str) -> int | str:
    try:
        headers = samples.signed_headers(body, app_secret)
        client.request("POST", f"{PREFIX}/webhook", body, headers)
        answer = client.getresponse()
        answer.read()
    except (OSError, HTTPException) as error:
        client.close()
        return type(error).__name__
    return answer.status


async def _fuzz_answers(made: Rig, tried: Tried, seconds: float) -> None:
    """Read mutated Graph answers; each resulting profile must be storable."""
    profiles: list[Profile] = []
    await asyncio.to_thread(fuzz_answers, tried, seconds, profiles)
    connection = await asyncpg.connect(made.owner_dsn)
    try:
        for profile in profiles:
            await _store(connection, profile, tried)
    finally:
        await connection.close()


def fuzz_answers(tried: Tried, seconds: float, profiles: list[Profile]) -> None:
    """Read mutated answers of Graph until the time is up; collects up to 20,000 profiles."""

    @_SETTINGS
    @given(mutated.mutated(mutated.graph_answers()))
    def read(body: bytes) -> None:
        for status in (200, STATUSES[len(body) % len(STATUSES)]):
            try:
                answer = Answer(status, decode(body))
                profile = read_profile(mutated.USERS[0], answer, Usage())
            except GraphError as error:
                tried.graph[error.problem.reason] += 1
            else:
                tried.graph["profile"] += 1
                if len(profiles) < 20_000:
                    profiles.append(profile)
        header = body[:200].decode("latin-1")
        read_usage({"X-App-Usage": header, "X-Business-Use-Case-Usage": header})

    _repeat(read, tried, seconds)


async def _store(connection: asyncpg.Connection, profile: Profile, tried: Tried) -> None:
    try:
        await connection.fetch(
            "SELECT $1::text, $2::text, $3::text, $4::jsonb",
            profile.username,
            profile.name,
            profile.profile_pic_url,
            profile.raw,
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        tried.faults.append(f"a profile can't be stored: {error}: {profile.raw[:500]}")


def _repeat(test: Callable[[], None], tried: Tried, seconds: float) -> None:
    """Run a property repeatedly until the time is up or it fails."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            test()
        except Exception as error:  # noqa: BLE001 - any exception is a finding
            notes = "; ".join(getattr(error, "__notes__", ()))
            tried.faults.append(f"{type(error).__name__}: {error} {notes}"[:4000])
            return


async def _judge(made: Rig, tried: Tried) -> None:
    """Look for invalid rows, and for faults in the service's log."""
    rows = await made.fetch("SELECT ig_account_id, ig_user_id FROM instagram_participants")
    known = tried.ids | {*mutated.USERS, *ACCOUNTS}
    strange = [row["ig_user_id"] for row in rows if row["ig_user_id"] not in known]
    late = [row for row in rows if ig_id(row["ig_user_id"]) is None]
    if late or len(strange) > tried.unreadable:
        tried.faults.append(f"participants that nobody sent: {strange[:5]} {late[:5]}")
    kept = await made.fetch(
        "SELECT username FROM instagram_user_cache WHERE ig_user_id = $1", SENTINEL
    )
    future = await made.fetch(
        "SELECT FROM instagram_participants WHERE last_message_at > $1", datetime.now(UTC)
    )
    connections = await made.fetch("SELECT FROM instagram_connections")
    if [row["username"] for row in kept] != ["sentinel"] or len(connections) != len(ACCOUNTS):
        tried.faults.append("a row was changed that should not be")
    if future:
        tried.faults.append(f"{len(future)} participants wrote in the future")
    tried.faults += complaints(made)


def _schemathesis(seconds: float) -> bool:
    """Run the tests of every route in the OpenAPI document."""
    if not SCHEMATHESIS.exists():
        print("schemathesis: no tests here")
        return True
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(SCHEMATHESIS))
    rounds = 0
    for _ in _until(seconds):
        rounds += 1
        ran = subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True)  # noqa: S603
        if ran.returncode:
            print(f"schemathesis, round {rounds}:\n{ran.stdout[-4000:]}")
            return False
    print(f"schemathesis: {rounds} rounds of every check on every route")
    return True


def _until(seconds: float) -> Iterator[None]:
    until = time.monotonic() + seconds
    yield
    while time.monotonic() < until:
        yield


if __name__ == "__main__":
    main()
