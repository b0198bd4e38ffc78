from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.nats_url import NatsUrl, read_nats_urls


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("nats://a:4222", NatsUrl("nats://a:4222", None, None, None)),
        ("tls://u:p%40%2C%25@a", NatsUrl("tls://a", "u", "p@,%", None)),
        ("nats://t%23ken@[::1]:4222/", NatsUrl("nats://[::1]:4222", None, "t#ken", None)),
        ("NATS://u:@a", NatsUrl("nats://a", "u", None, None)),
    ],
)
def test_an_address_is_read_with_what_opens_it(url: str, read: NatsUrl) -> None:
    assert read_nats_urls(url) == (read,)
    assert "p@" not in repr(read_nats_urls(url))


def test_a_credentials_file_holds_for_the_addresses_that_follow(tmp_path: Path) -> None:
    file = tmp_path / "nats.creds"
    file.write_text(
        "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n"
        "-----BEGIN USER NKEY SEED-----\nx\n------END USER NKEY SEED------\n"
    )
    first, second = read_nats_urls(f"nats://a?creds={file}, nats://b")
    assert (first.address, second.address) == ("nats://a", "nats://b")
    assert first.credentials_file == second.credentials_file == str(file)


@pytest.mark.parametrize("text", ["", "no credentials", "-----BEGIN NATS USER JWT-----"])
def test_a_file_without_credentials_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "nats.creds"
    file.write_text(text)
    with pytest.raises(ValueError, match="holds no NATS credentials"):
        read_nats_urls(f"nats://a?creds={file}")


@given(st.text(), st.text())
def test_nothing_but_a_value_error_without_the_value_is_raised(before: str, after: str) -> None:
    said = ""
    try:
        read_nats_urls(f"nats://{before}hunter3{after}")
    except ValueError as error:
        said = str(error)
    assert "hunter3" not in said
