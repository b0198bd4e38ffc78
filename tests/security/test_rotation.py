"""Every key can be replaced while the service answers: add the new one, switch, drop the old."""

import base64
import secrets

import pytest

from sandbox import samples
from service.store.migration import migrate
from service.vault import Vault
from tests.faults.rigs import Machines, forked_rig, named
from tests.system.chaos.rig import ACCOUNTS, Rig, message_from, new_user

pytestmark = pytest.mark.asyncio(loop_scope="session")


def _new_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


async def _status_with(made: Rig, key: str, path: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return (await made.ask("GET", path, headers=headers)).status


async def test_app_secrets_and_api_keys_overlap(machines: Machines) -> None:
    keys = machines[3]
    fresh = {name: f"fresh-{name}-{secrets.token_hex(8)}" for name in ("app", "inbox", "operator")}
    async with forked_rig(
        *machines,
        META_APP_SECRETS=f"{keys.app_secret},{fresh['app']}",
        INBOX_API_KEYS=f"{keys.inbox},{fresh['inbox']}",
        OPERATOR_API_KEYS=f"{fresh['operator']},{keys.operator}",
    ) as made:
        await made.start_services()
        users = [new_user(), new_user()]
        for user, secret in zip(users, (keys.app_secret, fresh["app"]), strict=True):
            body = message_from(user)
            signed = {"X-Hub-Signature-256": samples.sign(body, secret)}
            assert (await made.ask("POST", "/webhook", data=body, headers=signed)).status == 200
        await named(made, *users)
        for key in (keys.inbox, fresh["inbox"], keys.operator, fresh["operator"]):
            assert await _status_with(made, key, "/users/1") == 200
        for key in (keys.operator, fresh["operator"]):
            assert await _status_with(made, key, "/status") == 200


async def test_encryption_keys_change_in_three_steps_without_a_gap(machines: Machines) -> None:
    old, fresh = machines[3].encryption, _new_key()
    async with forked_rig(*machines, services=2, TOKEN_ENCRYPTION_KEYS=f"{old},{fresh}") as made:
        first, second = made.services
        second.environment["TOKEN_ENCRYPTION_KEYS"] = f"{fresh},{old}"
        await made.start_services()  # replicas on either side of the switch
        assert await migrate(made.owner_dsn, Vault((fresh, old))) == len(ACCOUNTS)
        users = [new_user() for _ in range(4)]
        for service in (first, second):
            assert (await made.write_as(*users[:2], service=service)).status == 200
        await named(made, *users[:2])
        await first.stop()
        second.environment["TOKEN_ENCRYPTION_KEYS"] = fresh  # the old key is gone
        await second.stop()
        await second.start()
        await second.wait_until_ready(made.session)
        assert (await made.write_as(*users[2:], service=second)).status == 200
        made.services.reverse()
        await named(made, *users[2:])
        stored = await made.fetch("SELECT access_token FROM instagram_connections")
        assert not any(Vault((fresh,)).has_older_seal(row["access_token"]) for row in stored)
