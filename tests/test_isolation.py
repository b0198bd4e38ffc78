from pathlib import Path

import pytest

from service.settings import Settings, StoreSettings
from tests.isolation import hide_settings
from tests.programs import describe_skipped


def test_neither_the_environment_nor_a_dotenv_file_of_the_developer_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("MAX_FAILURES=77\nPROFILE_TTL_DAYS=0.5\n")
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "DATABASE_URL_FILE", "PROFILE_TTL_DAYS", "PGHOST"):
        monkeypatch.setenv(name, "/nowhere")
    hide_settings()
    settings = StoreSettings(database_url="postgresql://a@127.0.0.1/b")  # type: ignore[arg-type]
    defaults = {name: Settings.model_fields[name].default for name in ("max_failures",)}
    assert settings.max_failures == defaults["max_failures"] != 77
    assert settings.profile_ttl_days == 7


def test_what_was_skipped_is_counted_with_the_way_to_get_it() -> None:
    reasons = ["a.py:1: Skipped: needs the program promtool"] * 2 + ["Skipped: only for root"]
    reasons += [str(("/a/test_b.py", 52, "Skipped: needs the program tsc"))]
    assert describe_skipped(reasons) == [
        "2 tests need promtool: apt-get install prometheus",
        "1 test needs tsc: npm ci --prefix tests/clients",
    ]
