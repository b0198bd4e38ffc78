import shlex
import socket
from pathlib import Path

import pytest

from sandbox import environment
from sandbox.environment import (
    DEFAULT_PORT,
    Address,
    Given,
    child_environment,
    choose_address,
    pasteable,
)
from sandbox.folder import POSTGRES
from sandbox.problems import RefusedError
from service.settings import Settings

OWN = {"META_APP_SECRETS": "s"}


@pytest.mark.parametrize(
    ("values", "real"),
    [
        ({}, False),
        (OWN, True),
        (OWN | {"GRAPH_BASE_URL": "https://graph.facebook.com"}, True),
        (OWN | {"GRAPH_BASE_URL": "http://127.0.0.1:9"}, False),
        (OWN | {"GRAPH_BASE_URL": "http://localhost:9"}, False),
        ({"GRAPH_BASE_URL": "https://graph.facebook.com"}, False),
    ],
)
def test_an_app_secret_means_metas_api_unless_graph_is_on_this_machine(
    values: dict[str, str], *, real: bool
) -> None:
    assert Given(values).real_graph is real


def test_the_shell_goes_before_the_file_and_blank_is_unset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "PROJECT", tmp_path)
    (tmp_path / ".env").write_text("META_APP_SECRETS=file\nHOST=::1\nPORT=\nINTAKE_URL=a${X}\n")
    monkeypatch.setenv("META_APP_SECRETS", "shell")
    monkeypatch.setenv("HOST", " ")
    monkeypatch.delenv("PORT", raising=False)
    monkeypatch.delenv("INTAKE_URL", raising=False)
    values = Given.read().values
    assert (values["META_APP_SECRETS"], values["INTAKE_URL"]) == ("shell", "a${X}")
    assert not {"HOST", "PORT"} & values.keys()


def test_the_sandboxs_own_database_pasted_back_is_started_again(tmp_path: Path) -> None:
    (tmp_path / POSTGRES).mkdir()
    (tmp_path / POSTGRES / "password").write_text("pw1")
    own = Given({"DATABASE_URL": "postgresql://postgres:pw1@127.0.0.1:5/postgres"})
    other = Given({"DATABASE_URL": "postgresql://postgres:pw2@127.0.0.1:5/postgres"})
    assert own.database_url(tmp_path) is None
    assert other.database_url(tmp_path) == other.values["DATABASE_URL"]
    assert Given({}).database_url(tmp_path) is None


def test_given_keys_go_before_made_up_ones_and_are_not_kept(tmp_path: Path) -> None:
    given = Given({"INBOX_API_KEYS": "given,second"}).keys(tmp_path)
    made = Given({}).keys(tmp_path)
    assert given["INBOX_API_KEYS"] == "given,second"
    assert "given" not in made["INBOX_API_KEYS"]
    assert made == Given({}).keys(tmp_path)
    assert made["META_APP_SECRETS"] == given["META_APP_SECRETS"]


def test_made_up_keys_are_good_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in Given({}).keys(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", "postgresql://x")
    assert Settings.load().meta_verify_token


def test_a_taken_port_is_passed_over_unless_asked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert choose_address(Given({"PORT": str(port)}), None).port > port
        with pytest.raises(RefusedError, match=f"Port {port}"):
            choose_address(Given({}), port)


def test_ports_without_a_wish() -> None:
    assert choose_address(Given({}), None).port >= DEFAULT_PORT
    assert choose_address(Given({}), 0).port > 0


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 - nothing is bound
        ("::", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("127.0.0.1", "http://127.0.0.1:80"),
    ],
)
def test_the_url_reaches_what_listens_there(host: str, url: str) -> None:
    assert Address(host, 80).url == url


def test_a_machines_name_in_host_is_no_address() -> None:
    assert Given({"HOST": "x86_64-conda-linux-gnu"}).host == "127.0.0.1"


def test_the_child_gets_settings_and_nothing_else_of_the_shell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOMEBODYS_PASSWORD", "secret")
    monkeypatch.setenv("MAX_FAILURES", "3")
    monkeypatch.setenv("INTAKE_URL", "")
    monkeypatch.setenv("LOG_FORMAT", "console")
    child = child_environment({"PORT": "1"})
    assert (child["PORT"], child["MAX_FAILURES"], child["LOG_FORMAT"]) == ("1", "3", "json")
    assert not {"SOMEBODYS_PASSWORD", "INTAKE_URL"} & child.keys()


def test_lines_survive_a_shell_and_withheld_ones_are_only_named() -> None:
    settings = dict.fromkeys(environment._SHOWN, "a b'c$d")
    lines = pasteable(settings)
    assert [shlex.split(line)[0].split("=", 1)[1] for line in lines] == ["a b'c$d"] * len(settings)
    withheld = pasteable(settings, {"DATABASE_URL"})
    assert withheld[0].startswith("# DATABASE_URL")
    assert withheld[1:] == lines[1:]


def test_set_secrets_are_withheld_with_the_real_api_only() -> None:
    real = Given(OWN | {"DATABASE_URL": "postgresql://x", "PORT": "1"})
    assert real.withheld == {"META_APP_SECRETS", "DATABASE_URL"}
    assert Given({"DATABASE_URL": "postgresql://x"}).withheld == frozenset()
