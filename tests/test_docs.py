"""The documentation: `make docs` finds what is wrong, and a reader's browser stays at home."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
INDEX = "# Index\n\n```{toctree}\npage\n```\n"
FOREIGN = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc="(?:https?:)?//|"""
    r"""<link\b[^>]*\bhref="(?:https?:)?//|url\(["']?(?:https?:)?//|@import"""
)
NAMED_PATH = re.compile(
    r"`((?:service|tests|deploy|benchmarks|docs|requirements|http|intake|store|sandbox|commands)"
    r"/[\w./-]*|\w+\.py)`"
)
MODULES = {
    path.name for folder in ("service", "tests") for path in (PROJECT / folder).rglob("*.py")
}


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build a project's site as `make docs` does."""
    strict = ["--quiet", "--fail-on-warning", "--keep-going", "--nitpicky"]
    command = [sys.executable, "-m", "sphinx", *strict, "--conf-dir", "docs", ".", str(site)]
    return subprocess.run(  # noqa: S603 - our own command
        command,
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project of two pages and a program, with our settings."""
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "app.py").write_text("")
    (tmp_path / "docs" / "site").mkdir(parents=True)
    shutil.copy(PROJECT / "docs" / "conf.py", tmp_path / "docs")
    (tmp_path / "docs" / "index.md").write_text(INDEX)
    (tmp_path / "docs" / "page.md").write_text("# Page\n\n## Part\n")
    return tmp_path


def test_the_site_asks_nobody_else(tmp_path: Path) -> None:
    built = build(PROJECT, tmp_path)
    assert built.returncode == 0, built.stderr
    files = [path for path in tmp_path.rglob("*") if path.suffix in {".html", ".css"}]
    assert {"index.html", "README.html", "operations.html"} <= {path.name for path in files}
    assert [path.name for path in files if FOREIGN.search(path.read_text())] == []


def test_links_that_work_are_built(project: Path) -> None:
    links = "[a](page.md) [b](page.md#part) [c](../service/app.py)\n"
    (project / "docs" / "index.md").write_text(INDEX + links)
    built = build(project, project / "site")
    assert built.returncode == 0, built.stderr


def test_whatever_leads_nowhere_is_named_and_fails(project: Path) -> None:
    nowhere = "[a](gone.md) [b](page.md#gone-part) [c](../service/gone.py) ![d](gone.png)\n"
    (project / "docs" / "index.md").write_text(INDEX + nowhere)
    (project / "docs" / "orphan.md").write_text("# Orphan\n")
    built = build(project, project / "site")
    assert built.returncode == 1
    for fault in ("gone.md", "gone-part", "gone.py", "gone.png", "orphan"):
        assert fault in built.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    named = NAMED_PATH.findall(page.read_text())
    assert [name for name in named if not is_there(name)] == []


def is_there(name: str) -> bool:
    """Find a file as pages name it: a module by its name, a test perhaps without `.py`."""
    if "/" not in name:
        return name in MODULES
    return any((PROJECT / name).exists() for name in (name, f"{name}.py", f"service/{name}"))
