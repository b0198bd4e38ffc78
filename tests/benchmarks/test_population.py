import pytest
from click.testing import CliRunner

from benchmarks.population import main


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.usefixtures("capfd")
def test_names_and_pictures_are_more_after_than_before() -> None:
    """A dozen people, two of them refused."""
    ended = CliRunner().invoke(main, ["--users", "12"], catch_exceptions=False)
    assert ended.exit_code == 0
    before, after = (cells(line) for line in ended.output.splitlines()[-2:])
    assert before[:4] == ["before", "10", "0", "0"]
    assert after[:6] == ["after", "12", "10", "10", "12", "2"]
