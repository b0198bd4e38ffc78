"""Programs that some tests need besides Python: where they are, or how to get them.

`@pytest.mark.needs_program("nginx")` skips a test where nginx is absent, and fails it where
CI=true; so does the fixture `chromium`. `make test` ends with what was skipped.
"""

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

DEBIAN_PACKAGES = {
    "chromium": "chromium-headless-shell",
    "curl": "curl",
    "nginx": "nginx-light",
    "node": "nodejs",
    "pgbouncer": "pgbouncer",
    "promtool": "prometheus",
    "wrk": "wrk",
}
NPM_FOLDER = Path(__file__).with_name("clients")
NPM_PROGRAMS = ("openapi-typescript", "tsc")
_FIXTURES = ("chromium",)  # each needs the program of its name
# Without the windows of Chromium, which nobody sees here, its tests need a third less CPU time.
_CALLED = {"chromium": ("chromium-headless-shell", "chromium", "chromium-browser")}
_ALSO_IN = os.pathsep.join(
    ("/usr/sbin", "/usr/local/sbin", str(NPM_FOLDER / "node_modules" / ".bin"))
)
_NEEDS = "needs the program "
_NAMED = re.compile(rf"{_NEEDS}([\w-]+)")


def find_program(name: str) -> str | None:
    """Give the path of a program, or None where it is not installed."""
    searched = os.pathsep.join((os.environ.get("PATH", os.defpath), _ALSO_IN))
    found = (shutil.which(called, path=searched) for called in _CALLED.get(name, (name,)))
    return next(filter(None, found), None)


def check_programs(item: pytest.Item) -> None:
    """Skip a test whose program is missing; in CI, fail it."""
    names = [name for mark in item.iter_markers("needs_program") for name in mark.args]
    fixtures = getattr(item, "fixturenames", ())
    for name in (*names, *(name for name in _FIXTURES if name in fixtures)):
        if find_program(name) is None:
            leave = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
            leave(f"{_NEEDS}{name}")


def describe_skipped(reasons: Iterable[str]) -> list[str]:
    """Say how many tests each missing program cost, and how to get it."""
    counts = Counter(name for reason in reasons for name in _NAMED.findall(reason))
    return [
        f"{count} {'test needs' if count == 1 else 'tests need'} {name}: {_how_to_get(name)}"
        for name, count in sorted(counts.items())
    ]


def _how_to_get(name: str) -> str:
    if name in NPM_PROGRAMS:
        return f"npm ci --prefix tests/{NPM_FOLDER.name}"
    return f"apt-get install {DEBIAN_PACKAGES.get(name, name)}"
