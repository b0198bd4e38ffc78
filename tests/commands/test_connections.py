import asyncio
import json
import os
import pty
import sys
from asyncio.subprocess import PIPE

import pytest
from rich.console import Console

from service.commands import connections
from service.commands.api import ConnectionLine
from service.vault import Vault
from tests.processes.forks import NO_DOTENV

from .world import ACCOUNT, ENCRYPTION_KEY, LOCATION, TOKEN, World

ADD = ("connections", "add", ACCOUNT, "--location", LOCATION)


async def stored_token(world: World) -> str:
    [row] = await world.fetch("SELECT access_token FROM instagram_connections")
    return Vault((ENCRYPTION_KEY,)).open(row["access_token"], ACCOUNT)


async def test_a_connection_is_added_listed_and_removed(world: World) -> None:
    async with world.serving():
        nothing = await world.run("connections", "list")
        added = await world.run(*ADD, "--alias", "555", stdin=f"{TOKEN}\n".encode())
        assert await stored_token(world) == TOKEN
        listed = await world.run("connections", "list")
        as_json = await world.run("connections", "list", "--json")
        removed = await world.run("connections", "remove", ACCOUNT, "--yes")
        gone = await world.run("connections", "remove", ACCOUNT, "--yes")
    assert "no connections yet" in nothing.out
    assert added.code == 0
    assert f"location {LOCATION}, facebook login, also known as 555" in added.out
    assert all(word in listed.out for word in (ACCOUNT, LOCATION, "facebook", "active", "555"))
    [connection] = json.loads(as_json.out)["connections"]
    assert connection["igAccountId"] == ACCOUNT
    assert removed.code == 0
    assert await world.fetch("SELECT * FROM instagram_connections") == []
    assert gone.code == 2
    assert f"no connection {ACCOUNT}" in gone.err


async def test_a_new_token_leaves_aliases_and_login_as_they_are(world: World) -> None:
    await world.connect(login="instagram", aliases=["555"])
    world.graph.add_token("another-token", ig_account_id=ACCOUNT, login="instagram")
    world.graph.add_token("t", ig_account_id=ACCOUNT)
    async with world.serving():
        assert (await world.run(*ADD, stdin=b"another-token")).code == 0
        [row] = await world.fetch("SELECT login, alias_ids FROM instagram_connections")
        assert tuple(row) == ("instagram", ["555"])
        assert await stored_token(world) == "another-token"
        moved = await world.run(
            *ADD[:3], "--location", "loc_2", "--no-aliases", "--login", "facebook", stdin=b"t"
        )
    assert f"moved here from the location {LOCATION}" in moved.out
    [row] = await world.fetch("SELECT location_id, login, alias_ids FROM instagram_connections")
    assert tuple(row) == ("loc_2", "facebook", [])


async def test_a_plain_token_is_told_apart(world: World) -> None:
    await world.connect()
    await world.fetch("UPDATE instagram_connections SET access_token = $1", TOKEN)
    async with world.serving():
        listed = await world.run("connections", "list")
    assert "active, plain" in listed.out
    assert TOKEN not in listed.out


async def test_a_pause_is_shown_with_what_it_means(world: World) -> None:
    await world.connect()
    await world.fetch(
        "INSERT INTO instagram_pauses (scope, until, reason)"
        " VALUES ($1, 'infinity', 'token_invalid')",
        f"account:{ACCOUNT}",
    )
    async with world.serving():
        listed = await world.run("connections", "list")
    assert "Meta refuses the account's access token" in listed.out


async def test_what_is_no_token_or_no_id_is_refused_before_anything_is_sent(world: World) -> None:
    for given in (b"", b" \n", b"two words", b"x" * 5000, b"\xc3\xa9"):
        refused = await world.run(*ADD, stdin=given)
        assert refused.code == 2
        assert "access token" in refused.err
        assert "xxx" not in refused.err
    wrong = await world.run("connections", "add", "my account", "--location", LOCATION, stdin=b"t")
    assert wrong.code == 2
    assert "1 to 32 digits" in wrong.err


async def test_an_id_of_another_connection_is_refused(world: World) -> None:
    await world.connect()
    world.graph.add_token("t", ig_account_id="777")
    async with world.serving():
        taken = await world.run(
            "connections", "add", "777", "--location", LOCATION, "--alias", ACCOUNT, stdin=b"t"
        )
    assert taken.code == 2
    assert ACCOUNT in taken.err


async def test_it_asks_before_it_removes(world: World) -> None:
    await world.connect()
    async with world.serving():
        refused = await world.run("connections", "remove", ACCOUNT, stdin=b"n\n")
        assert len(await world.fetch("SELECT * FROM instagram_connections")) == 1
        agreed = await world.run("connections", "remove", ACCOUNT, stdin=b"y\n")
    assert refused.code == 1
    assert "Its token is deleted" in refused.err
    assert agreed.code == 0
    assert await world.fetch("SELECT * FROM instagram_connections") == []


async def test_on_a_terminal_the_token_is_asked_for_and_not_shown(world: World) -> None:
    controller, terminal = pty.openpty()
    async with world.serving():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "service", *ADD),
            cwd=NO_DOTENV,
            env=world.environment,
            stdin=terminal,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,  # without the tests' own terminal
        )
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(60):
            shown = await process.stderr.readuntil(b": ")
            os.write(controller, f"{TOKEN}\n".encode())
            out, err = await process.communicate()
    os.write(terminal, b"the end")
    echoed = os.read(controller, 4096)
    os.close(controller)
    os.close(terminal)
    assert process.returncode == 0, err
    assert await stored_token(world) == TOKEN
    assert TOKEN.encode() not in shown + out + err + echoed


def test_a_narrow_terminal_gets_lines_instead_of_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        connections, "console", lambda stream: Console(file=stream, width=60, highlight=False)
    )
    endless = "9999-12-31T23:59:59Z"
    connections._show(
        [
            ConnectionLine(
                ig_account_id="17841400000000001",
                location_id="loc_1",
                alias_ids=["178"],
                login="facebook",
                token_status="invalid",
                paused_until=endless,
                pause_reason="token_invalid",
                username="shop",
            )
        ]
    )
    out = capsys.readouterr().out
    assert out.splitlines() == [
        "@shop 17841400000000001",
        "  loc_1, facebook login, token invalid",
        "  also known as 178",
        "  paused until a new token",
        "  token_invalid: Meta refuses the account's access token",
    ]
    assert max(map(len, out.splitlines())) <= 60
