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
    "host": "0.0.0.0",  # noqa: S104 - the default of a container
    "port": 8080,
    "log_format": None,
    "log_level": "info",
    "shutdown_timeout_seconds": 15,
    "listen_database_url": None,
    "seal_tokens": False,
    "conversation_names": True,
    "pictures": "copy",
    "picture_hosts": ("cdninstagram.com", "fbcdn.net", "fbsbx.com"),
    "retention_days": 0,
    "forward_urls": (),
    "forward_max_bytes": 1 << 30,
}
WRONG = [
    ("DATABASE_URL", "mysql://127.0.0.1/x"),
    ("DATABASE_URL", "hunter2"),
    ("DATABASE_URL", ""),
    ("DATABASE_URL", "postgresql://svc:change-me@postgres:5432/app"),
    ("DATABASE_URL", "postgresql://svc:x@db:hunter2/app"),
    ("DATABASE_URL", "postgresql://svc:x@db/app?sslmode=hunter2"),
    ("DATABASE_URL", "postgresql://svc:x@db/app?sslrootcert=/hunter2/ca.pem"),
    ("DATABASE_URL", "postgresql://svc:x@db/app?target_session_attrs=read-only&hunter2=1"),
    ("DATABASE_URL", "postgresql://svc:x@db/app?hunter2"),
    ("DATABASE_URL", "postgresql://svc:x@db/app?connect_timeout=hunter2"),
    ("META_APP_SECRETS", ""),
    ("META_APP_SECRETS", "hunter2,,hunter2"),
    ("META_APP_SECRETS", "hunter2,"),
    ("META_VERIFY_TOKEN", ""),
    ("META_VERIFY_TOKEN", " \t"),
    ("INBOX_API_KEYS", ""),
    ("INBOX_API_KEYS", "hunter2"),
    ("INBOX_API_KEYS", f"{SECRET},hunter2"),
    ("INBOX_API_KEYS", "hünter2" * 3),
    ("OPERATOR_API_KEYS", f"{SECRET}-other,{SECRET}-inbox"),
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
    ("INTAKE_URL", "nats://hunter2:port"),
    ("INTAKE_URL", "nats://nats:4222?creds=/hunter2/nats.creds"),
    ("INTAKE_URL", "nats://nats:4222?hunter2=1"),
    ("QUEUE_CAPACITY", "-1"),
    ("MIGRATE_ON_START", "hunter2"),
    ("PORT", "65536"),
    ("HOST", "http://hunter2"),
    ("LOG_FORMAT", "hunter2"),
    ("LOG_LEVEL", "hunter2"),
    ("SHUTDOWN_TIMEOUT_SECONDS", "-1"),
    ("LISTEN_DATABASE_URL", "hunter2"),
    ("SEAL_TOKENS", "hunter2"),
    ("CONVERSATION_NAMES", "hunter2"),
    ("PICTURES", "hunter2"),
    ("PICTURE_HOSTS", "hunter2"),
    ("PICTURE_HOSTS", "cdn.example,https://hunter2.example/path"),
    ("PICTURE_HOSTS", "http://someone:hunter2@127.0.0.1:9000"),
    ("PICTURE_HOSTS", "*.hunter2.example"),
    ("RETENTION_DAYS", "-1"),
    ("RETENTION_DAYS", "hunter2"),
    ("FORWARD_URLS", "hunter2.example/hook"),
    ("FORWARD_URLS", "https://hunter2.example/hook#part"),
    ("FORWARD_URLS", "https://hunter2.example:port/hook"),
    ("FORWARD_URLS", "https://hunter2.example/a,https://hunter2.example/a"),
    ("FORWARD_URLS", ",".join(f"https://hunter2.example/{n}" for n in range(4))),
    ("FORWARD_MAX_BYTES", "0"),
    ("FORWARD_MAX_BYTES", "1hunter2"),
    ("META_APP_SECRETS", "hunter2\nhunter2"),
    ("META_APP_SECRETS", "hunter2\udcff"),
    ("META_APP_SECRETS", "change-me"),
    ("META_VERIFY_TOKEN", "change-me"),
    ("INBOX_API_KEYS", "change-me-change-me"),
    ("INBOX_API_KEYS", "hunter2 hunter2 hunter2"),
    ("TOKEN_ENCRYPTION_KEYS", "change-me"),
]


@pytest.fixture(autouse=True)
def _only_what_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start from an environment without a fault; a `.env` is read, and there is none yet."""
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
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
def test_defaults_are_as_documented(name: str, value: object) -> None:
    assert getattr(Settings.load(), name) == value


def test_a_default_stands_for_every_setting_that_is_not_needed() -> None:
    fields = Settings.model_fields
    assert {name.upper() for name, field in fields.items() if field.is_required()} == set(NEEDED)
    assert set(DEFAULTS) < set(fields)


def test_lists_are_split_at_commas_and_stripped() -> None:
    settings = Settings.load()
    assert secret_values(settings.meta_app_secrets) == (f"{SECRET}-new", f"{SECRET}-old")
    assert secret_values(settings.token_encryption_keys) == (KEY, OTHER_KEY)


def test_blanks_and_line_ends_around_values_and_items_are_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tidy = Settings.load()
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, " \t" + value.replace(",", " \r\n,\n ") + "\r\n")
    for name, value in (("PORT", " 8081\n"), ("PICTURES", "off\n"), ("LISTEN_DATABASE_URL", "\n")):
        monkeypatch.setenv(name, value)
    assert Settings.load() == tidy.model_copy(update={"port": 8081, "pictures": "off"})


def test_a_setting_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    in_environment = Settings.load()
    for name, value in NEEDED.items():
        (tmp_path / name).write_text(f"\ufeff{value}\r\n")
        monkeypatch.delenv(name)
        monkeypatch.setenv(f"{name}_FILE", f"{tmp_path / name}\n")
    (tmp_path / "port").write_text("8081\n")
    (tmp_path / ".env").write_text("PORT_FILE=port\n")
    assert Settings.load() == in_environment.model_copy(update={"port": 8081})


def test_a_file_that_cannot_be_used_is_a_fault_of_its_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "blank").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"hunter2\xff")
    for name, path in (
        ("DATABASE_URL", tmp_path / "missing"),
        ("META_APP_SECRETS", tmp_path),
        ("META_VERIFY_TOKEN", tmp_path / "blank"),
        ("INBOX_API_KEYS", tmp_path / "binary"),
    ):
        monkeypatch.delenv(name)
        monkeypatch.setenv(f"{name}_FILE", str(path))
    monkeypatch.setenv("OPERATOR_API_KEYS_FILE", "hunter2")  # beside OPERATOR_API_KEYS
    message = refusal()
    assert faults(message) == sorted(NEEDED.keys() - {"TOKEN_ENCRYPTION_KEYS"})
    assert "DATABASE_URL: the file that DATABASE_URL_FILE names cannot be read: No such" in message
    assert "hunter2" not in message


def test_notices_are_heard_where_the_database_is_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Settings.load().listen_dsn == NEEDED["DATABASE_URL"]
    monkeypatch.setenv("LISTEN_DATABASE_URL", "postgresql://direct/instagram")
    assert Settings.load().listen_dsn == "postgresql://direct/instagram"


def test_picture_hosts_are_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICTURE_HOSTS", "FBCDN.net, HTTP://127.0.0.1:9000/, https://[::1]:443")
    assert Settings.load().picture_hosts == ("fbcdn.net", "http://127.0.0.1:9000", "https://[::1]")


@pytest.mark.parametrize(
    ("size", "in_bytes"), [("1000", 1000), ("2 GiB", 2 << 30), ("512mib", 512 << 20), ("1kB", 1000)]
)
def test_a_size_may_have_a_unit(monkeypatch: pytest.MonkeyPatch, size: str, in_bytes: int) -> None:
    monkeypatch.setenv("FORWARD_MAX_BYTES", size)
    assert Settings.load().forward_max_bytes == in_bytes


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


@pytest.mark.parametrize("name", ["DATABASE_URL", "LISTEN_DATABASE_URL", "INTAKE_URL"])
@pytest.mark.parametrize("raw", [*"#/?@[]% ", "%zz", "/9#", "?a=b&", "%FF"])
def test_a_password_that_is_not_percent_encoded_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, raw: str
) -> None:
    scheme = "nats" if name == "INTAKE_URL" else "postgresql"
    monkeypatch.setenv(name, f"{scheme}://svc:Hunter2{raw}hunter2@db.example:5432/app")
    message = refusal()
    assert faults(message) == [name]
    assert "percent-encoded" in message
    assert "unter2" not in message


@pytest.mark.parametrize("name", ["GRAPH_BASE_URL", "FORWARD_URLS", "PICTURE_HOSTS"])
@pytest.mark.parametrize("host", ["p[hunter2]x@127.0.0.1", "hunter2\N{CARE OF}", "hunter2:port"])
def test_an_address_that_python_cannot_read_is_not_shown_either(
    monkeypatch: pytest.MonkeyPatch, name: str, host: str
) -> None:
    monkeypatch.setenv(name, f"https://{host}/x")
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
