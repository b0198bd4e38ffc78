"""`doctor --user`: one person in a terminal."""

import asyncio
import json

import pytest

from service.commands.doctor.person import examine_user
from service.commands.output import CommandError
from service.settings import DoctorSettings

from .world import ACCOUNT, LOCATION, World, user

ERROR = {"code": 100, "subcode": 33}


async def examine(
    world: World, wanted: str, capsys: pytest.CaptureFixture[str], *, as_json: bool = False
) -> tuple[int, str]:
    settings = DoctorSettings.model_validate(world._named)
    code = await examine_user(settings, wanted, as_json=as_json)
    return code, capsys.readouterr().out


async def test_a_person_who_waits_is_shown_with_metas_words_and_the_next_try(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.connect()
    await world.participants([user(1)])
    await world.fetch(
        "UPDATE instagram_participants SET due_at = now() + interval '50 min',"
        " last_message_at = '2026-11-20T10:00:00Z'"
    )
    await world.fetch(
        "INSERT INTO instagram_user_cache (ig_user_id, fail_count, last_failed_at, last_error)"
        " VALUES ($1, 3, now() - interval '10 min', $2::jsonb)",
        user(1),
        json.dumps(
            {
                "reason": "not_found",
                "code": 100,
                "subcode": 33,
                "message": "Gone\x1b",
                "fbtrace_id": "T",
            }
        ),
    )
    code, out = await examine(world, user(1), capsys)
    assert code == 1
    for words in (
        user(1),
        "pending: Meta knows nobody by this id",
        "20 November 10:00 UTC",
        f"to {ACCOUNT} ({LOCATION})",
        "3 of 5, last",
        "not_found, code 100/33, trace T, “Gone�”",
        "(in 50 min)",
    ):
        assert words in out
    await world.fetch("UPDATE instagram_user_cache SET fail_count = 5")
    await world.fetch("UPDATE instagram_participants SET due_at = NULL")
    code, out = await examine(world, user(1), capsys)
    assert code == 2
    assert "none until somebody acts" in out


async def test_a_person_is_found_by_username_in_any_case(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.connect()
    await world.participants([user(1), user(2)])
    await world.fetch(
        "INSERT INTO instagram_user_cache (ig_user_id, username, last_fetched_at)"
        " VALUES ($1, 'Jane.Doe', now()), ($2, 'jane.doe2', now())",
        user(1),
        user(2),
    )
    code, out = await examine(world, "@jane.doe", capsys)
    assert code == 0
    assert f"@Jane.Doe  {user(1)}" in out
    assert user(2) not in out
    code, out = await examine(world, "@jane.doe", capsys, as_json=True)
    [shown] = json.loads(out)["people"]
    assert (shown["person"]["igUserId"], shown["lastError"]) == (user(1), None)


async def test_somebody_unknown_is_said_so(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await examine(world, "@nobody", capsys) == (
        2,
        "No known user has the name or id @nobody.\n",
    )
    with pytest.raises(CommandError, match="an id of 1 to 32 digits, or @username"):
        await examine(world, "jane", capsys)


async def test_the_shell_takes_a_user_and_tells_the_version(world: World) -> None:
    unknown, both, version, file = await asyncio.gather(
        world.run("doctor", "--user", "@nobody"),
        world.run("doctor", "--user", "1", "--location", "loc_1"),
        world.run("--version"),
        world.run("participants", "import", "people of may.csv"),
    )
    assert (unknown.code, unknown.out) == (2, "No known user has the name or id @nobody.\n")
    assert both.code == 2
    assert version.out == "instagram-identity, version 0.1.0\n"
    assert file.code == 2
    assert "python -m service participants import < 'people of may.csv'" in file.err
