"""What others have written reaches a terminal without steering it, and a shell as one word."""

import json
import subprocess

import pytest

from service.commands.output import cell
from service.wording import shell_word

from .world import ACCOUNT, World

HOSTILE = "loc$(touch pwned)'\"`;& \x1b]0;title\x07\x1b[2J\x9b31m\u202egnp.exe\u2066\r"
UNSHOWN = ("\x1b", "\x9b", "\u202e", "\u2066", "\x07", "\r")


async def test_no_command_passes_on_what_steers_a_terminal(world: World) -> None:
    await world.connect()
    await world.fetch(
        "UPDATE instagram_connections SET location_id = $1, alias_ids = ARRAY[$1]", HOSTILE
    )
    for scope, reason in (("app", "why\x1b[2J\u202e"), (f"account:{ACCOUNT}", "permission")):
        await world.fetch(
            "INSERT INTO instagram_pauses (scope, until, reason)"
            " VALUES ($1, now() + interval '1 day', $2)",
            scope,
            reason,
        )
    async with world.serving():
        listed = await world.run("connections", "list")
        as_json = await world.run("connections", "list", "--json")
        examined = [await world.examine(None, as_json=each) for each in (False, True)]
    for ended in (listed, as_json, *examined):
        assert len(ended.out) > 100
        assert not [ch for ch in ended.out + ended.err if not ch.isprintable() and ch != "\n"]
    assert json.loads(as_json.out)["connections"][0]["locationId"] == HOSTILE
    assert shell_word(HOSTILE) in examined[0].out


@pytest.mark.parametrize(
    "text", [HOSTILE, "plain", "", "it's", "$(touch x)", "\\", "a\nb", "\U0001f600\u200d\U000e0001"]
)
def test_a_word_comes_out_of_a_shell_as_it_was(text: str) -> None:
    word = shell_word(text)
    assert word.isprintable()
    printed = subprocess.run(  # noqa: S603 - our own words
        ["/bin/bash", "-c", f"printf %s {word}"],
        check=True,
        capture_output=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    assert printed.stdout.decode() == text


def test_a_cell_of_a_table_keeps_its_lines_and_nothing_else_that_is_not_shown() -> None:
    assert not [ch for ch in UNSHOWN if ch in cell(HOSTILE).plain]
    assert cell("a\nb").plain == "a\nb"
