import base64

import pytest

from service.errors import SealError
from service.receiving.forwarding.sealing import BodySeal

OLD, NEW = (base64.urlsafe_b64encode(bytes([n]) * 32).decode() for n in (1, 2))


def test_a_body_opens_with_any_configured_key() -> None:
    sealed = BodySeal([OLD]).seal(b"a body", "delivery-1")
    assert b"a body" not in sealed
    assert BodySeal([NEW, OLD]).open(sealed, "delivery-1") == b"a body"


def test_a_key_that_was_removed_is_named() -> None:
    sealed = BodySeal([OLD]).seal(b"a body", "delivery-1")
    with pytest.raises(SealError, match="no key in TOKEN_ENCRYPTION_KEYS has the id"):
        BodySeal([NEW]).open(sealed, "delivery-1")


def test_a_body_opens_as_its_own_delivery_only() -> None:
    seal = BodySeal([NEW])
    sealed = seal.seal(b"a body", "delivery-1")
    for changed, delivery in ((sealed, "delivery-2"), (sealed[:-1] + b"?", "delivery-1")):
        with pytest.raises(SealError, match="belongs to another delivery"):
            seal.open(changed, delivery)
