"""README and `.env.example` name the settings that exist, with their defaults."""

import re
from pathlib import Path

import pytest

from service.settings import ClientSettings, Settings
from tests.test_settings import NEEDED

PROJECT = Path(__file__).parents[1]
EXAMPLE = dict(
    re.findall(r"^#?([A-Z][A-Z_]+)=(.*)$", (PROJECT / ".env.example").read_text(), re.MULTILINE)
)
FIELDS = Settings.model_fields | ClientSettings.model_fields


def names_in_readme() -> set[str]:
    """The names in the first column of the table of settings."""
    section = (PROJECT / "README.md").read_text().split("## Settings", 1)[1].split("\n## ", 1)[0]
    columns = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    return {name for column in columns for name in re.findall(r"`([A-Z_]+)`", column)}


def test_readme_and_example_name_every_setting_and_no_other() -> None:
    names = {name.upper() for name in FIELDS}
    assert names_in_readme() == names
    assert set(EXAMPLE) == names


def test_the_example_shows_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    defaults = Settings.load()
    monkeypatch.setenv("LOG_FORMAT", EXAMPLE["LOG_FORMAT"])  # by default it depends on the terminal
    for name in set(EXAMPLE) - set(NEEDED):
        monkeypatch.setenv(name, EXAMPLE[name])
    assert Settings.load() == defaults.model_copy(update={"log_format": EXAMPLE["LOG_FORMAT"]})
