import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import SealError
from service.vault import Vault
from tests.strategies import TEXT

OLD, NEW, OTHER = (base64.urlsafe_b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))
TOKEN, ACCOUNT = "EAAmadeupTOKEN", "17841400000000007"


@given(TEXT, TEXT)
def test_what_is_sealed_for_an_account_opens_for_it(token: str, account: str) -> None:
    vault = Vault((NEW,))
    assert vault.open(vault.seal(token, account), account) == token.strip()


def test_a_sealed_token_shows_nothing_and_is_never_the_same() -> None:
    vault = Vault((NEW,))
    sealed = {vault.seal(TOKEN, ACCOUNT) for _ in range(50)}
    assert len(sealed) == 50
    assert not any(TOKEN in one for one in sealed)
    assert all(vault.is_sealed(one) for one in sealed)


def test_a_new_first_key_seals_and_the_old_one_still_opens() -> None:
    before, after = Vault((OLD,)), Vault((NEW, OLD))
    sealed = before.seal(TOKEN, ACCOUNT)
    assert after.open(sealed, ACCOUNT) == TOKEN
    assert after.has_older_seal(sealed)
    sealed_anew = after.seal(TOKEN, ACCOUNT)
    assert not after.has_older_seal(sealed_anew)
    assert Vault((NEW,)).open(sealed_anew, ACCOUNT) == TOKEN


def test_a_key_that_is_gone_is_named_by_its_id() -> None:
    sealed = Vault((OLD,)).seal(TOKEN, ACCOUNT)
    with pytest.raises(SealError, match=sealed.split(".")[1]):
        Vault((NEW, OTHER)).open(sealed, ACCOUNT)


def test_a_token_does_not_open_for_another_account() -> None:
    vault = Vault((NEW,))
    with pytest.raises(SealError):
        vault.open(vault.seal(TOKEN, ACCOUNT), "17841400000000008")


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_token_with_any_byte_changed_does_not_open(place: int, change: int) -> None:
    vault = Vault((NEW,))
    version, key_id, text = vault.seal(TOKEN, ACCOUNT).split(".")
    box = bytearray(base64.urlsafe_b64decode(text))
    box[place % len(box)] ^= change
    with pytest.raises(SealError):
        vault.open(f"{version}.{key_id}.{base64.urlsafe_b64encode(box).decode()}", ACCOUNT)


@given(st.integers(3, 60))
def test_a_token_that_was_cut_does_not_open(length: int) -> None:
    vault = Vault((NEW,))
    sealed = vault.seal(TOKEN, ACCOUNT)
    with pytest.raises(SealError):
        vault.open(sealed[:length], ACCOUNT)


@pytest.mark.parametrize("stored", [TOKEN, f" {TOKEN}\r\n", f"{TOKEN}\n", "v2.0123abcd.AAAA"])
def test_a_plain_token_is_used_as_it_is(stored: str) -> None:
    vault = Vault((NEW,))
    assert vault.open(stored, ACCOUNT) == stored.strip()
    assert not vault.is_sealed(stored)
    assert not vault.has_older_seal(stored)


@pytest.mark.parametrize("stored", ["v1.", "v1.0123abcd.", "v1.0123ABCD.AAAA", "v1.é.AAAA"])
def test_what_was_sealed_is_never_taken_for_a_token(stored: str) -> None:
    vault = Vault((NEW,))
    assert vault.is_sealed(stored)
    assert not vault.has_older_seal(stored)
    with pytest.raises(SealError, match="cut off or changed"):
        vault.open(stored, ACCOUNT)


@given(st.text() | TEXT.map(lambda text: f"v1.{Vault((NEW,)).seal('', '')[3:11]}.{text}"))
def test_any_stored_text_is_refused_unless_a_header_can_hold_it(stored: str) -> None:
    try:
        token = Vault((NEW,)).open(stored, ACCOUNT)
    except SealError:
        return
    assert token
    assert token == stored.strip()
    assert all("!" <= character <= "~" for character in token)


def test_neither_keys_nor_tokens_are_in_what_prints_of_a_vault() -> None:
    vault = Vault((NEW, OLD))
    with pytest.raises(SealError) as refused:
        vault.open(vault.seal(TOKEN, ACCOUNT), "1")
    shown = f"{vault!r} {vault} {refused.value!r}"
    for secret in (NEW, OLD, TOKEN):
        assert secret not in shown
