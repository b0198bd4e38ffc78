"""Secrets stay in: at rest, in logs, in errors, in tracebacks, in metrics and in `repr`."""

import subprocess
import sys

import pytest

from service.errors import SealError
from service.settings import Settings
from service.vault import Vault
from tests.faults.rigs import Machines, forked_rig, identity_of, named
from tests.system.chaos.rig import ACCOUNTS, Rig, new_user
from tests.until import until

KEYS = (
    "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
)
TOKEN = "EAAtheTokenThatNobodyMaySee"
SECRET = "a secret that was in a local variable"


def test_a_sealed_token_shows_nothing_of_it() -> None:
    sealed = Vault(KEYS).seal(TOKEN, ACCOUNTS[0])
    assert TOKEN not in sealed
    assert Vault(KEYS).open(sealed, ACCOUNTS[0]) == TOKEN
    assert Vault(KEYS).seal(TOKEN, ACCOUNTS[0]) != sealed


def test_a_sealed_token_opens_for_its_account_alone() -> None:
    sealed = Vault(KEYS).seal(TOKEN, ACCOUNTS[0])
    with pytest.raises(SealError) as refused:
        Vault(KEYS).open(sealed, ACCOUNTS[1])
    assert TOKEN not in str(refused.value)


def test_a_changed_token_does_not_open() -> None:
    sealed = Vault(KEYS).seal(TOKEN, ACCOUNTS[0])
    for at in range(12, len(sealed), 7):
        changed = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
        with pytest.raises(SealError):
            Vault(KEYS).open(changed, ACCOUNTS[0])


def test_settings_and_vault_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "DATABASE_URL": "postgresql://someone:databasepassword@127.0.0.1/x",
        "META_APP_SECRETS": "appsecretone,appsecrettwo",
        "META_VERIFY_TOKEN": "verifytokenitself",
        "INBOX_API_KEYS": "inboxkeyinboxkeyinbox",
        "OPERATOR_API_KEYS": "operatorkeyoperatorkey",
        "TOKEN_ENCRYPTION_KEYS": KEYS[0],
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    shown = repr(settings) + str(settings) + repr(settings.model_dump()) + repr(Vault(KEYS))
    for value in ("databasepassword", "appsecret", "verifytoken", "inboxkey", "operatorkey", *KEYS):
        assert value not in shown


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_local_variable(log_format: str) -> None:
    script = f"""
import structlog
from service.logs import configure_logs
configure_logs({log_format!r}, "info")
def fail(key):
    raise RuntimeError("it failed")
try:
    fail({SECRET!r}.upper())
except RuntimeError:
    structlog.get_logger().exception("a handler failed")
"""
    said = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert "it failed" in said.stdout
    assert SECRET.upper() not in said.stdout + said.stderr


def test_settings_that_are_wrong_are_named_and_not_shown() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "service", "serve"],
        check=False,
        capture_output=True,
        text=True,
        env={"INBOX_API_KEYS": "short", "TOKEN_ENCRYPTION_KEYS": "nokeyatall"},
    )
    assert said.returncode == 2
    assert "TOKEN_ENCRYPTION_KEYS" in said.stderr
    assert "nokeyatall" not in said.stderr + said.stdout
    assert "short" not in said.stderr + said.stdout


@pytest.mark.asyncio(loop_scope="session")
async def test_a_whole_run_leaves_no_secret_anywhere(machines: Machines) -> None:
    async with forked_rig(*machines, LOG_LEVEL="debug") as made:
        await made.start_services()
        answers = await _live_through_much(made)
        metrics = (await made.probe("/metrics")).body
        await made.services[0].stop()
        places = {
            "the log": made.services[0].log.read_bytes(),
            "standard error": made.services[0].errors.read_bytes(),
            "an answer": b"".join(answers),
            "the metrics": metrics,
            "the tables": await _dump(made),
        }
        keys = made.keys
        secrets = [keys.app_secret, keys.verify, keys.inbox, keys.operator, keys.encryption]
        for place, said in places.items():
            for secret in (*secrets, keys.token, TOKEN):
                assert secret.encode() not in said, f"{secret} stands in {place}"


async def _live_through_much(made: Rig) -> list[bytes]:
    """Names, failures, dead tokens, wrong keys, broken Graph, and everything that answers."""
    keys = {"Authorization": f"Bearer {made.keys.operator}"}
    good, consent, dead = new_user(), new_user(), new_user()
    await made.control_graph(f"users/{consent}", answer="consent_required")
    await made.control_graph(f"users/{dead}", answer="token_expired")
    answers = [(await made.write_as(good, consent)).body]
    await named(made, good)
    answers.append((await made.write_as(dead)).body)
    await until(lambda: _is_invalid(made))
    await made.control_graph("tokens", token=TOKEN, igAccountId=ACCOUNTS[0])
    put = await made.ask(
        "PUT",
        f"/connections/{ACCOUNTS[0]}",
        headers=keys,
        json={"locationId": "rig", "accessToken": TOKEN},
    )
    wrong = await made.ask("GET", "/status", headers={"Authorization": "Bearer wrongwrongwrong"})
    bad = await made.ask("PUT", f"/connections/{ACCOUNTS[1]}", headers=keys, data=TOKEN.encode())
    paths = ("/connections", "/status", f"/users/{good}", f"/users/{dead}", "/nowhere")
    answers += [(await made.ask("GET", path, headers=keys)).body for path in paths]
    assert (put.status, wrong.status, bad.status) == (200, 401, 400)
    await until(lambda: _has_reason(made, consent, "consent_required"))
    return [*answers, put.body, wrong.body, bad.body]


async def _has_reason(made: Rig, user: str, reason: str) -> bool:
    return bool((await identity_of(made, user))["reason"] == reason)


async def _is_invalid(made: Rig) -> bool:
    rows = await made.fetch("SELECT FROM instagram_connections WHERE token_status = 'invalid'")
    return len(rows) > 0


async def _dump(made: Rig) -> bytes:
    tables = await made.fetch(
        "SELECT tablename FROM pg_tables WHERE tablename LIKE 'instagram\\_%'"
    )
    rows = [
        row[0]
        for table in tables
        for row in await made.fetch(f"SELECT t::text FROM {table['tablename']} t")  # noqa: S608
    ]
    return "\n".join(rows).encode()
