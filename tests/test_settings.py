import base64
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from service.errors import SettingsError
from service.settings import MigrateSettings, Settings, secret_values
from tests.strategies import TEXT

SECRET = "hunter2hunter2hunter2"
KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.urlsafe_b64encode(bytes(32)).decode()
NEEDED = {
    "DATABASE_URL": f"postgresql://someone:{SECRET}@127.0.0.1/instagram",
    "META_APP_SECRETS": f"{SECRET}-new, {SECRET}-old",
    "META_VERIFY_TOKEN": f"{SECRET}-verify",
    "INBOX_API_KEYS": f"{SECRET}-inbox",
    "OPERATOR_API_KEYS": f"{SECRET}-operator",
    "TOKEN_ENCRYPTION_KEYS": f"{KEY},{OTHER_KEY}",
}
DEFAULTS = {
    "graph_base_url": "https://graph.facebook.com",
    "instagram_graph_base_url": "https://graph.instagram.com",
    "graph_api_version": "v18.0",
    "graph_timeout_seconds": 2,
    "graph_calls_per_second": 10,
    "graph_concurrency": 16,
    "profile_ttl_days": 7,
    "max_failures": 5,
    "intake_url": SecretStr(""),
    "queue_capacity": 100_000,
    "migrate_on_start": True,
    "host": "0.0.0.0",  # noqa: S104 - the contract's default
    "port": 8080,
    "log_format": None,
    "log_level": "info",
    "shutdown_timeout_seconds": 15,
}
WRONG = [
    ("DATABASE_URL", "mysql://127.0.0.1/x"),
    ("DATABASE_URL", "hunter2"),
    ("DATABASE_URL", ""),
    ("META_APP_SECRETS", ""),
    ("META_APP_SECRETS", "hunter2,,hunter2"),
    ("META_APP_SECRETS", "hunter2,"),
    ("META_VERIFY_TOKEN", ""),
    ("META_VERIFY_TOKEN", " \t"),
    ("INBOX_API_KEYS", ""),
    ("INBOX_API_KEYS", "hunter2"),
    ("INBOX_API_KEYS", f"{SECRET},hunter2"),
    ("INBOX_API_KEYS", "hünter2" * 3),
    ("OPERATOR_API_KEYS", "   "),
    ("OPERATOR_API_KEYS", "15-characters.."),
    ("TOKEN_ENCRYPTION_KEYS", ""),
    ("TOKEN_ENCRYPTION_KEYS", "hunter2"),
    ("TOKEN_ENCRYPTION_KEYS", KEY[:-4]),
    ("TOKEN_ENCRYPTION_KEYS", f"{KEY},hünter2"),
    ("GRAPH_BASE_URL", "ftp://hunter2.example"),
    ("GRAPH_BASE_URL", "https://"),
    ("INSTAGRAM_GRAPH_BASE_URL", "graph.hunter2.example"),
    ("INSTAGRAM_GRAPH_BASE_URL", "https://a.example/?access_token=hunter2"),
    ("GRAPH_API_VERSION", "18"),
    ("GRAPH_API_VERSION", "v18.0/hunter2"),
    ("GRAPH_TIMEOUT_SECONDS", "0"),
    ("GRAPH_TIMEOUT_SECONDS", "hunter2"),
    ("GRAPH_TIMEOUT_SECONDS", "nan"),
    ("GRAPH_CALLS_PER_SECOND", "0"),
    ("GRAPH_CALLS_PER_SECOND", "inf"),
    ("GRAPH_CALLS_PER_SECOND", "-1"),
    ("GRAPH_CONCURRENCY", "0"),
    ("GRAPH_CONCURRENCY", "1.5"),
    ("PROFILE_TTL_DAYS", "0"),
    ("PROFILE_TTL_DAYS", "1e9"),
    ("MAX_FAILURES", "0"),
    ("INTAKE_URL", "http://hunter2:4222"),
    ("QUEUE_CAPACITY", "-1"),
    ("MIGRATE_ON_START", "hunter2"),
    ("PORT", "65536"),
    ("LOG_FORMAT", "hunter2"),
    ("LOG_LEVEL", "hunter2"),
    ("SHUTDOWN_TIMEOUT_SECONDS", "-1"),
]


@pytest.fixture(autouse=True)
def _only_what_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start from an environment without a fault, in a folder without a `.env`."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


def refusal() -> str:
    with pytest.raises(SettingsError) as refused:
        Settings.load()
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
    return str(refused.value)


def faults(message: str) -> list[str]:
    """The settings that a message names."""
    return re.findall(r"^  ([A-Z_]+): .", message, re.MULTILINE)


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_the_defaults_are_the_contracts(name: str, value: object) -> None:
    assert getattr(Settings.load(), name) == value


def test_a_default_stands_for_every_setting_that_is_not_needed() -> None:
    fields = Settings.model_fields
    assert {name.upper() for name, field in fields.items() if field.is_required()} == set(NEEDED)
    assert set(DEFAULTS) < set(fields)


def test_lists_are_split_at_commas_and_stripped() -> None:
    settings = Settings.load()
    assert secret_values(settings.meta_app_secrets) == (f"{SECRET}-new", f"{SECRET}-old")
    assert secret_values(settings.token_encryption_keys) == (KEY, OTHER_KEY)


def test_a_base_url_loses_its_last_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPH_BASE_URL", "http://127.0.0.1:9000/graph/")
    assert Settings.load().graph_base_url == "http://127.0.0.1:9000/graph"


@pytest.mark.parametrize(
    "url", ["", "nats://a.example:4222", "tls://a.example:1, nats://b.example:2"]
)
def test_an_intake_may_be_one_broker_or_several(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("INTAKE_URL", url)
    assert Settings.load().intake_url.get_secret_value() == url


def test_a_dotenv_file_is_read_and_the_environment_counts_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PORT", "9001")
    (tmp_path / ".env").write_text("PORT=9000\nMAX_FAILURES=3\nUNKNOWN=1\n# HOST=x\n")
    settings = Settings.load()
    assert (settings.port, settings.max_failures, settings.host) == (9001, 3, "0.0.0.0")  # noqa: S104


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_setting_is_named_and_its_value_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    message = refusal()
    assert faults(message) == [name]
    assert "hunter2" not in message
    assert "hünter2" not in message


def test_every_setting_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NEEDED:
        monkeypatch.delenv(name)
    assert faults(refusal()) == sorted(NEEDED)


def test_every_setting_that_is_wrong_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WRONG:
        monkeypatch.setenv(name, value)
    assert faults(refusal()) == sorted({name for name, _ in WRONG})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://someone:p[hunter2]x@127.0.0.1/x",
        "postgresql://someone:hunter2\N{CARE OF}@127.0.0.1/x",
        "postgresql://someone:hunter2[@127.0.0.1/x",
    ],
)
@pytest.mark.parametrize("name", ["DATABASE_URL", "GRAPH_BASE_URL", "INTAKE_URL"])
def test_an_address_that_python_cannot_read_is_not_shown_either(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    monkeypatch.setenv(name, url)
    message = refusal()
    assert faults(message) == [name]
    assert "hunter2" not in message


@given(
    st.sampled_from(sorted(NEEDED)),
    TEXT.filter(lambda text: "\0" not in text),
    TEXT.filter(lambda text: "\0" not in text),
)
def test_no_value_is_ever_shown(name: str, before: str, after: str) -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(name, f"postgresql://{before}hunter3{after}")
        try:
            shown = repr(Settings.load())
        except SettingsError as error:
            shown = repr(error)
    assert "hunter3" not in shown


def test_no_secret_is_in_what_prints_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load()
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert SECRET not in shown
    assert KEY not in shown
    monkeypatch.setenv("PORT", "x")
    assert SECRET not in refusal()


def test_a_brokers_password_is_not_in_what_prints_of_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INTAKE_URL", f"nats://someone:{SECRET}@127.0.0.1:4222")
    assert SECRET not in repr(Settings.load())


def test_migrate_needs_the_database_and_the_keys_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NEEDED.keys() - {"DATABASE_URL", "TOKEN_ENCRYPTION_KEYS"}:
        monkeypatch.delenv(name)
    assert secret_values(MigrateSettings.load().token_encryption_keys) == (KEY, OTHER_KEY)
