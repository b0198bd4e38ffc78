"""Forged and replayed deliveries."""

import hashlib
import hmac
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request

from sandbox import samples
from service.errors import SignatureError
from service.http import auth
from service.http.problems import ProblemError
from service.http.webhook import WebhookRoutes
from service.receiving.webhook import verify_signature
from tests.faults.rigs import named
from tests.system.chaos.rig import Rig, message_from, new_user

BODY = b'{"object":"instagram","entry":[]}'
SECRETS = (b"the new secret", b"the old secret")
LOOKALIKES: dict[str, str | None] = {
    "none": None,
    "empty": "",
    "no digest": "sha256=",
    "sha1": "sha1=" + hmac.digest(SECRETS[0], BODY, hashlib.sha1).hex(),
    "sha1 by the name of sha256": "sha256=" + hmac.digest(SECRETS[0], BODY, hashlib.sha1).hex(),
    "sha512": "sha512=" + hmac.digest(SECRETS[0], BODY, hashlib.sha512).hex(),
    "another secret": samples.sign(BODY, "guess"),
    "an empty secret": samples.sign(BODY, ""),
    "another body": samples.sign(BODY + b" ", SECRETS[0].decode()),
    "no scheme": samples.sign(BODY, SECRETS[0].decode()).removeprefix("sha256="),
    "shortened": samples.sign(BODY, SECRETS[0].decode())[:-1],
    "lengthened": samples.sign(BODY, SECRETS[0].decode()) + "0",
    "not ASCII": "sha256=\u0661\udcff",
}


@pytest.mark.parametrize("header", LOOKALIKES.values(), ids=LOOKALIKES)
def test_what_looks_like_a_signature_is_none(header: str | None) -> None:
    with pytest.raises(SignatureError) as refused:
        verify_signature(BODY, header, SECRETS)
    for secret in SECRETS:
        assert samples.sign(BODY, secret.decode())[7:] not in str(refused.value)


@pytest.mark.parametrize("secret", SECRETS)
def test_each_secret_may_sign(secret: bytes) -> None:
    verify_signature(BODY, samples.sign(BODY, secret.decode()), SECRETS)


class Compared:
    """Stands for `hmac.compare_digest` and notes what it compared."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pairs: list[set[bytes]] = []
        self._compare = hmac.compare_digest
        monkeypatch.setattr(hmac, "compare_digest", self)

    def __call__(self, one: bytes, other: bytes) -> bool:
        self.pairs.append({one, other})
        return self._compare(one, other)


def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # Time can't be told apart reliably in a test: whether every secret is compared, and how, can.
    compared = Compared(monkeypatch)
    signatures = [samples.sign(BODY, secret.decode()) for secret in SECRETS]
    verify_signature(BODY, signatures[0], SECRETS)
    assert compared.pairs == [{signatures[0].encode(), each.encode()} for each in signatures]
    compared.pairs.clear()
    assert auth._is_among(b"key", [b"key", b"other"])
    assert compared.pairs == [{b"key"}, {b"key", b"other"}]


async def test_the_verify_token_is_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = Compared(monkeypatch)
    routes = object.__new__(WebhookRoutes)
    routes._verify_token, routes._guesses = b"the token", Mock()
    request = make_mocked_request("GET", "/webhook?hub.verify_token=guess")
    with pytest.raises(ProblemError):
        await routes.handshake(request)
    assert compared.pairs == [{b"guess", b"the token"}]


@pytest.mark.asyncio(loop_scope="session")
class TestServed:
    async def test_unsigned_and_forged_deliveries_change_nothing(self, shared_rig: Rig) -> None:
        user = new_user()
        body = message_from(user)
        sha1 = samples.signed_headers(body, shared_rig.keys.app_secret)["X-Hub-Signature"]
        for headers in (
            {},
            {"X-Hub-Signature": sha1},
            {"X-Hub-Signature-256": sha1},
            {"X-Hub-Signature-256": samples.sign(body, "a guess")},
        ):
            answer = await shared_rig.ask("POST", "/webhook", data=body, headers=headers)
            assert answer.status == 401
            assert samples.sign(body, shared_rig.keys.app_secret)[7:].encode() not in answer.body
        stored = await shared_rig.fetch(
            "SELECT FROM instagram_participants WHERE ig_user_id = $1", user
        )
        assert stored == []

    async def test_a_replay_changes_nothing_and_calls_nobody(self, shared_rig: Rig) -> None:
        user = new_user()
        body = message_from(user)
        assert (await shared_rig.deliver(body)).status == 200
        await named(shared_rig, user)
        before = await _rows(shared_rig, user)
        for at in range(20):
            if at % 5 == 0:  # what the service remembers is one defence, the tables are another
                await shared_rig.fetch("SELECT pg_notify('instagram_gone', '*')")
            assert (await shared_rig.deliver(body)).status == 200
        await named(shared_rig, user)
        assert await _rows(shared_rig, user) == before
        assert len(await shared_rig.graph_calls(user)) == 1

    async def test_only_who_knows_the_verify_token_gets_the_challenge(
        self, shared_rig: Rig
    ) -> None:
        for token, status in ((shared_rig.keys.verify, 200), ("guess", 403), ("", 403)):
            answer = await shared_rig.ask(
                "GET",
                "/webhook",
                params={
                    "hub.mode": "subscribe",
                    "hub.verify_token": token,
                    "hub.challenge": "<script>1</script>",
                },
            )
            assert answer.status == status
            assert (answer.body == b"<script>1</script>") == (status == 200)
            assert "html" not in answer.headers["Content-Type"]


async def _rows(rig: Rig, user: str) -> list[object]:
    rows = await rig.fetch(
        "SELECT p.*, c.* FROM instagram_participants p JOIN instagram_user_cache c"
        " USING (ig_user_id) WHERE p.ig_user_id = $1",
        user,
    )
    return [tuple(row) for row in rows]
