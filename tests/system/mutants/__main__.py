"""Removes each defence, one at a time, and checks that its test fails: `make mutants`.

Works on a copy of the project. ARGS selects mutations by a part of their names.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.system.mutants.defences import MUTATIONS, Mutation

ROOT = Path(__file__).parents[3]
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".sandbox", "__pycache__", ".*_cache", ".hypothesis", "htmlcov"
)
FAILED = 1  # pytest's exit code for "tests were run, and some failed"


def main(only: str = "") -> int:
    """Run every mutation and print a table; exits with 1 if a test does not fail."""
    chosen = [mutation for mutation in MUTATIONS if only in mutation.defence + mutation.test]
    table = Table("defence", "file", "test", "without it", title="Mutations")
    unnoticed = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        copy = Path(name, "project")
        shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
        copy.parent.chmod(0o711)
        for mutation in chosen:
            outcome = _outcome(copy, mutation)
            unnoticed += outcome != "fails"
            table.add_row(mutation.defence, mutation.file, mutation.test, outcome)
            print(f"{outcome}: {mutation.defence}", flush=True)
    Console(width=160).print(table)
    return 1 if unnoticed else 0


def _outcome(copy: Path, mutation: Mutation) -> str:
    file = copy / mutation.file
    text = file.read_text()
    if mutation.old not in text:
        return "NOT FOUND"
    file.write_text(text.replace(mutation.old, mutation.new))
    try:
        code = _run(copy, mutation.test)
    finally:
        file.write_text(text)
    return {FAILED: "fails", 0: "PASSES"}.get(code, f"pytest ended with {code}")


def _run(copy: Path, test: str) -> int:
    command = (sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", test)
    return subprocess.run(command, check=False, cwd=copy, capture_output=True).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
