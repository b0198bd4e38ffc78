import asyncio
import io
import os
import signal
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from contextlib import suppress

import pytest

from service.commands import participants
from service.commands.lines import Participant
from service.commands.output import Meter
from service.settings import StoreSettings

from .world import ACCOUNT, World, user

ALIAS = "17841499999999999"


async def stored(world: World) -> set[tuple[str, str]]:
    rows = await world.fetch("SELECT ig_account_id, ig_user_id FROM instagram_participants")
    return {(row["ig_account_id"], row["ig_user_id"]) for row in rows}


async def test_lines_become_participants_who_are_due_and_a_repeat_changes_nothing(
    world: World,
) -> None:
    await world.connect()
    lines = "".join(f"{ACCOUNT},{user(i)},2026-11-20T10:00:00Z\n" for i in range(2100))
    first = await world.run("participants", "import", stdin=lines.encode())
    assert (first.code, len(await stored(world))) == (0, 2100)
    assert "2,100 participants stored" in first.out
    query = "SELECT min(last_message_at), max(last_message_at), count(due_at) FROM"
    [before] = await world.fetch(f"{query} instagram_participants")
    again = await world.run("participants", "import", stdin=lines.encode())
    [after] = await world.fetch(f"{query} instagram_participants")
    assert again.code == 0
    assert before == after
    assert before["count"] == 2100


async def test_aliases_become_their_account_and_own_ids_are_no_users(world: World) -> None:
    await world.connect(aliases=[ALIAS])
    rows = [(ALIAS, user(1)), (ACCOUNT, ALIAS), (ALIAS, ACCOUNT), ("77", "77"), ("88", user(2))]
    lines = "".join(f"{account},{each}\n" for account, each in rows)
    ended = await world.run("participants", "import", stdin=lines.encode())
    assert ended.code == 0
    assert await stored(world) == {(ACCOUNT, user(1)), ("88", user(2))}
    assert "3 lines left out" in ended.out
    assert "connected: 88" in ended.out


async def test_bad_lines_are_named_and_the_others_stored(world: World) -> None:
    lines = [
        '{"ig_account_id":"1","ig_user_id":"x"}',
        "nonsense",
        f'{{"ig_account_id":1,"ig_user_id":{user(1)}}}',
    ]
    ended = await world.run("participants", "import", stdin="\n".join(lines).encode())
    assert ended.code == 1
    assert await stored(world) == {("1", user(1))}
    assert ended.err.splitlines()[:2] == [
        "line 1 ig_user_id is not 1 to 32 digits: skipped",
        "line 2 is not a JSON object: skipped",
    ]
    assert "2 bad lines" in ended.out


async def test_a_header_of_something_else_is_refused(world: World) -> None:
    ended = await world.run("participants", "import", stdin=b"name,mail\n1,2\n")
    assert ended.code == 2
    assert "The header has no ig_account_id" in ended.err


async def test_without_postgres_it_says_so(world: World) -> None:
    world.dsn = "postgresql://127.0.0.1:1/nowhere"
    ended = await world.run("participants", "import", stdin=b"1,2\n")
    assert ended.code == 2
    assert "DATABASE_URL" in ended.err


async def test_ctrl_c_while_waiting_for_input_keeps_what_is_stored(world: World) -> None:
    async with world.running("participants", "import", stdin=PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"".join(b"1,%d\n" % i for i in range(1000, 3000)))
        await process.stdin.drain()
        await world.has("SELECT count(*) >= 1000 FROM instagram_participants")
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        out = await process.stdout.read()
        assert await process.wait() == 130
    assert b"At least" in out
    assert b"Interrupted" in out


def test_ctrl_c_that_a_write_swallows_still_ends_the_import(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored: list[int] = []

    class Recorder:
        async def store(self, participants: Sequence[Participant]) -> None:
            stored.append(len(participants))
            os.kill(os.getpid(), signal.SIGINT)
            with suppress(asyncio.CancelledError):  # as `wait_for` does where it ends just then
                await asyncio.sleep(60)

    async def open_recorder(*_: object) -> Recorder:
        return Recorder()

    monkeypatch.setattr(participants, "open_recorder", open_recorder)
    lines = io.BytesIO(b"".join(b"1,%d\n" % i for i in range(1000, 4000)))
    settings = StoreSettings.model_construct()
    with Meter("import", io.StringIO()) as meter, pytest.raises(KeyboardInterrupt):
        participants.Import(lines, meter).run(settings)
    assert stored == [1000]


def test_ctrl_c_that_python_ignores_still_ends_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does that comes while Python runs the callback of a weak reference."""
    stored: list[int] = []

    class Recorder:
        async def store(self, participants: Sequence[Participant]) -> None:
            stored.append(len(participants))

    class InterruptedMeter(Meter):
        def show(self, now: str, done: int = 0, total: int | None = None) -> None:
            with suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            super().show(now, done, total)

    async def open_recorder(*_: object) -> Recorder:
        return Recorder()

    monkeypatch.setattr(participants, "open_recorder", open_recorder)
    lines = io.BytesIO(b"".join(b"1,%d\n" % i for i in range(1000, 4000)))
    settings = StoreSettings.model_construct()
    with InterruptedMeter("import", io.StringIO()) as meter, pytest.raises(KeyboardInterrupt):
        participants.Import(lines, meter).run(settings)
    assert stored == [1000]


async def test_the_options_of_meta_go_together(world: World) -> None:
    for arguments in (["--from-meta"], ["--location", "x"], ["--days", "7"]):
        assert (await world.run("participants", "import", *arguments)).code == 2
