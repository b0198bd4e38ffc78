"""The image's recipe: what an engine would do with it is checked here without one."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import packages_distributions
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SERVE_LOCK = ROOT / "requirements" / "serve.txt"
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
UNPRIVILEGED_UID = 1000


class Step(NamedTuple):
    instruction: str
    argument: str


def _steps() -> list[Step]:
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    words = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return [Step(instruction, argument) for instruction, argument in words]


def _stages() -> list[list[Step]]:
    stages: list[list[Step]] = []
    for step in _steps():
        if step.instruction == "FROM":
            stages.append([])
        stages[-1].append(step)
    return stages


def _last_of_final_stage(instruction: str) -> str:
    return [step.argument for step in _stages()[-1] if step.instruction == instruction][-1]


def _health_command() -> list[str]:
    command: list[str] = json.loads(_last_of_final_stage("HEALTHCHECK").partition(" CMD ")[2])
    return [sys.executable, *command[1:]]


@contextmanager
def _served_healthz(status: HTTPStatus) -> Iterator[int]:
    class Healthz(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else HTTPStatus.NOT_FOUND)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with HTTPServer(("127.0.0.1", 0), Healthz) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _health_exit_code(port: int) -> int:
    environment = {"PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run(  # noqa: S603 - the command that the Dockerfile spells out
        _health_command(), env=environment, check=False, capture_output=True, timeout=30
    ).returncode


def _copied_from_project() -> list[str]:
    copies = [step.argument.split() for step in _steps() if step.instruction in {"COPY", "ADD"}]
    return [source for copy in copies if not copy[0].startswith("--from") for source in copy[:-1]]


def _let_in(path: str) -> bool:
    """Whether `.dockerignore` lets a path into the build: the last pattern that fits decides."""
    is_let_in = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = Path(path).parts
        prefixes = ["/".join(parts[: length + 1]) for length in range(len(parts))]
        candidates = [*prefixes, *parts] if "**/" in line else prefixes
        if any(fnmatch(candidate, pattern) for candidate in candidates):
            is_let_in = line.startswith("!")
    return is_let_in


def _locked(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", lock.read_text(), re.MULTILINE))


def _imported(path: Path) -> set[str]:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.partition(".")[0])
    return imported


def test_the_service_runs_as_a_numeric_user_without_privileges() -> None:
    # A cluster that demands a non-root user can check a number, not a name.
    uid, gid = _last_of_final_stage("USER").split(":")
    assert int(uid) >= UNPRIVILEGED_UID
    assert int(gid) >= UNPRIVILEGED_UID


def test_nothing_is_installed_or_changed_by_the_final_stage() -> None:
    assert not [step for step in _stages()[-1] if step.instruction in {"RUN", "ADD"}]
    assert len(_stages()) > 1


def test_a_stop_is_a_sigterm_that_reaches_the_service_itself() -> None:
    assert _last_of_final_stage("STOPSIGNAL") == "SIGTERM"
    assert json.loads(_last_of_final_stage("CMD")) == ["python", "-m", "service", "serve"]


@pytest.mark.parametrize(
    ("status", "exit_code"), [(HTTPStatus.OK, 0), (HTTPStatus.SERVICE_UNAVAILABLE, 1)]
)
def test_health_is_what_healthz_answers(status: HTTPStatus, exit_code: int) -> None:
    with _served_healthz(status) as port:
        assert _health_exit_code(port) == exit_code


def test_a_port_where_nobody_answers_is_ill() -> None:
    with _served_healthz(HTTPStatus.OK) as port:
        pass
    assert _health_exit_code(port) == 1


def test_only_the_service_its_schema_and_its_lock_are_copied() -> None:
    assert sorted(_copied_from_project()) == ["requirements/serve.txt", "schema.sql", "service/"]


@pytest.mark.parametrize("path", ["service/__main__.py", "service/http/auth.py", "schema.sql"])
def test_the_build_sees_what_it_copies(path: str) -> None:
    assert _let_in(path)


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        ".sandbox/keys",
        "service/.env",
        "service/.env.production",
        "service/http/__pycache__/auth.pyc",
        "requirements/dev.txt",
        "tests/conftest.py",
    ],
)
def test_the_build_sees_no_secret_and_nothing_that_it_does_not_need(path: str) -> None:
    assert not _let_in(path)


def test_no_secret_is_written_into_the_image() -> None:
    settings = [step.argument for step in _steps() if step.instruction in {"ENV", "ARG", "LABEL"}]
    assert not re.search(
        r"SECRET|TOKEN|KEY|PASSWORD|DATABASE_URL", " ".join(settings), re.IGNORECASE
    )


def test_packages_are_installed_from_the_lock_by_hash_alone() -> None:
    installs = [step.argument for step in _steps() if "pip install" in step.argument]
    assert len(installs) == 1
    assert {"--require-hashes", "--no-deps", "--no-cache-dir"} <= set(installs[0].split())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_names_exact_versions_by_hash_and_no_address(lock: Path) -> None:
    entries = re.split(r"\n(?=[^\s#])", lock.read_text().partition("\n")[2])[1:]
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==[^ ]+ (; .+ )?\\\n    --hash=sha256:[0-9a-f]{64}", entry)
    assert not re.search(r"://|file:|--(extra-)?index|--find-links", lock.read_text())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_what_is_tested_is_what_is_shipped(lock: Path) -> None:
    assert _locked(SERVE_LOCK).items() <= _locked(lock).items()


def test_all_that_the_service_imports_is_in_the_image() -> None:
    modules = (ROOT / "service").rglob("*.py")
    imported = set[str]().union(*map(_imported, modules))
    distributions = packages_distributions()
    needed = {
        re.sub(r"[-_.]+", "-", distributions[module][0]).lower()
        for module in imported
        if module in distributions
    }
    assert needed <= _locked(SERVE_LOCK).keys()
