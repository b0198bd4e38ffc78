"""The list of defences stays true as the code moves; `make mutants` takes them away one by one."""

import pytest

from tests.security.mutations import MUTATIONS, ROOT, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.defence)
def test_a_defence_stands_where_the_list_says_and_has_its_test(mutation: Mutation) -> None:
    assert mutation.old in (ROOT / mutation.file).read_text()
    file, *names = mutation.test.partition("[")[0].split("::")
    written = (ROOT / file).read_text()
    assert [
        name for name in names if f" {name}(" not in written and f" {name}:" not in written
    ] == []
