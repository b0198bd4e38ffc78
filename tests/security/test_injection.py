"""What a client sends stays what it is: no statement, no log line and no header is made of it."""

import json
import subprocess
import sys

import pytest

from tests.abuse.wires import Wire, head, is_problem
from tests.system.chaos.rig import PREFIX, Rig


def test_a_terminal_is_told_nothing_by_a_log_line() -> None:
    script = """
import structlog
from service.logs import configure_logs
configure_logs("console", "info")
structlog.get_logger().info("found\\nforged line", path="/x\\x1b[2J", note="a\\r\\nforged line")
"""
    said = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout
    assert said.count("\n") == 1
    assert "\x1b[2J" not in said


@pytest.mark.asyncio(loop_scope="session")
class TestServed:
    async def test_sql_in_values_is_a_value(self, shared_rig: Rig) -> None:
        keys = {"Authorization": f"Bearer {shared_rig.keys.operator}"}
        evil = "x'; DROP TABLE instagram_user_cache; --"
        for path, status in (
            (f"/messages/backfill?locationId={evil}", 404),
            (f"/users?ids={evil}", 400),
            (f"/users/{evil}", 400),
        ):
            method = "POST" if "backfill" in path else "GET"
            answer = await shared_rig.ask(method, path, headers=keys)
            assert answer.status == status
        assert await shared_rig.fetch("SELECT count(*) FROM instagram_user_cache")

    @pytest.mark.parametrize(
        "given",
        ["a b", "x" * 65, "a\tb", "\xe4\xf6", "<b>", "a;b", "", "a,b", "%0d%0aSet-Cookie:x"],
    )
    async def test_a_request_id_that_is_none_is_replaced(self, shared_rig: Rig, given: str) -> None:
        wire = await Wire.to(shared_rig.services[0])
        await wire.send(head("GET", "/nowhere", f"X-Request-ID: {given}"))
        answer = await wire.response()
        await wire.close()
        assert answer[1]["x-request-id"] != given
        assert is_problem(*answer)

    async def test_a_request_id_that_is_one_is_given_back(self, shared_rig: Rig) -> None:
        wire = await Wire.to(shared_rig.services[0])
        await wire.send(head("GET", "/nowhere", "X-Request-ID: abc-123.X_9"))
        answer = await wire.response()
        await wire.close()
        assert answer[1]["x-request-id"] == "abc-123.X_9"

    async def test_a_line_feed_in_a_path_begins_no_line_of_the_log(self, shared_rig: Rig) -> None:
        service = shared_rig.services[0]
        for path in ("/x%0a%7B%22event%22:%22forged%22%7D", "/users/1%0d%0aX: y"):
            wire = await Wire.to(service)
            await wire.send(head("GET", PREFIX + path.replace(" ", "%20"), "Connection: close"))
            await wire.all_that_comes()
        events = [json.loads(line)["event"] for line in service.log.read_text().splitlines()]
        assert "forged" not in events
