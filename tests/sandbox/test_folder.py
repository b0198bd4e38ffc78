import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.folder import KEYS, MARKER, sandbox_folder, stored_keys
from sandbox.problems import RefusedError

MADE = {"ONE": "made one", "TWO": "made two"}


def test_a_new_folder_is_made_and_marked(tmp_path: Path) -> None:
    with sandbox_folder(tmp_path / "a" / "b", fresh=False) as folder:
        assert (folder / MARKER).exists()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_with_other_things_is_left_alone(tmp_path: Path, *, fresh: bool) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with (
        pytest.raises(RefusedError, match="not a sandbox's folder"),
        sandbox_folder(tmp_path, fresh=fresh),
    ):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_can_not_be_the_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(RefusedError, match="--data-dir"), sandbox_folder(file, fresh=False):
        pass


def test_fresh_empties_it_and_only_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    with sandbox_folder(tmp_path / "sandbox", fresh=False) as folder:
        (folder / "old" / "deep").mkdir(parents=True)
        (folder / "link").symlink_to(outside)
        stored_keys(folder, MADE)
    with sandbox_folder(tmp_path / "sandbox", fresh=True) as folder:
        assert not {"old", "link", KEYS} & {file.name for file in folder.iterdir()}
        assert (folder / MARKER).exists()
    assert (outside / "kept").exists()


def test_one_sandbox_at_a_time(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sandbox.folder import sandbox_folder\n"
        "with sandbox_folder(Path(sys.argv[1]), fresh=True): pass"
    )
    with sandbox_folder(tmp_path / "sandbox", fresh=False) as folder:
        (folder / "busy").touch()
        command = (sys.executable, "-c", code, str(folder))
        other = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        assert f"process {os.getpid()}" in other.stderr
        assert (folder / "busy").exists()
    with sandbox_folder(tmp_path / "sandbox", fresh=False):
        pass


def test_keys_stay_the_same_and_private(tmp_path: Path) -> None:
    first = stored_keys(tmp_path, MADE)
    again = stored_keys(tmp_path, {"ONE": "other", "TWO": "other", "THREE": "made later"})
    assert first == MADE
    assert again == {**MADE, "THREE": "made later"}
    assert stat.S_IMODE((tmp_path / KEYS).stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [KEYS]


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_damaged_keys_are_named_and_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / KEYS).write_bytes(text.encode("latin-1"))
    with pytest.raises(RefusedError, match="--fresh"):
        stored_keys(tmp_path, MADE)
    assert (tmp_path / KEYS).read_bytes() == text.encode("latin-1")
