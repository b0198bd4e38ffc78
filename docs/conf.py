"""How `make docs` makes a site of the Markdown: whatever Sphinx warns of fails the build.

The sources are those of the whole project, so that links between README, CHANGELOG and docs/ are
checked and work in the site as they do in the repository. A page that names a file that is not
there, or that makes a reader's browser ask another host, fails the build too.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

project = "Instagram identity service"
html_title = project
root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**.md"]
exclude_patterns = [".*", "benchmarks", "service", "tests"]

extensions = ["myst_parser"]
myst_heading_anchors = 3  # links to headings, as in the repository

html_theme = "furo"  # brings its styles and scripts along: a reader's browser asks nobody else
html_extra_path = ["site"]
html_copy_source = False
html_use_index = False
html_show_copyright = False


_PROJECT = Path(__file__).parents[1]
_NAMED = re.compile(
    r"`((?:service|tests|deploy|benchmarks|docs|requirements|sandbox|receiving|resolving|graph"
    r"|identities|accounts|judgement|settings|http|store|commands|build)/[\w./-]*|\w+\.py)`"
)
_FOREIGN = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc="(?:https?:)?//|"""
    r"""<link\b[^>]*\bhref="(?:https?:)?//|url\(["']?(?:https?:)?//|@import"""
)
_log = getLogger(__name__)


def setup(app: Sphinx) -> None:
    """Add the project's own checks."""
    app.connect("source-read", _check_named_files)
    app.connect("build-finished", _check_hosts)


def _check_named_files(_: Sphinx, page: str, source: list[str]) -> None:
    if page == "CHANGELOG":  # tells of files as they were
        return
    for name in _NAMED.findall(source[0]):
        if not _is_there(name):
            _log.warning("names %s, which is not there", name, location=page)


def _is_there(name: str) -> bool:
    """Find a file by its path, perhaps inside `service/`, or a module by its name alone."""
    if "/" in name:
        places = (_PROJECT / name, _PROJECT / f"{name}.py", _PROJECT / "service" / name)
        return any(place.exists() for place in places)
    folders = ("service", "sandbox", "benchmarks", "tests", "docs")
    return any(next((_PROJECT / folder).rglob(name), None) for folder in folders)


def _check_hosts(app: Sphinx, _: Exception | None) -> None:
    for path in Path(app.outdir).rglob("*"):
        if path.suffix in {".html", ".css"} and _FOREIGN.search(path.read_text()):
            _log.warning("%s asks another host", path.relative_to(app.outdir))
