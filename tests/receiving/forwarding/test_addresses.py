import pytest

from service.receiving.forwarding.addresses import address_name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://inbox.example/hook", "https://inbox.example/hook"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://[::1]:9000/a", "http://[::1]:9000/a"),
    ],
)
def test_an_address_is_named_by_its_url(url: str, name: str) -> None:
    assert address_name(url) == name


def test_no_secret_of_an_address_is_in_its_name() -> None:
    first = address_name("https://user:hunter2@inbox.example/hook?key=s3cret")
    second = address_name("https://user:hunter2@inbox.example/hook?key=0ther")
    assert first.startswith("https://inbox.example/hook#")
    assert not any(secret in first for secret in ("user", "hunter2", "s3cret"))
    assert first != second
