"""The types of settings and their validation. No error message contains a value."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from service.nats_url import read_nats_urls
from service.postgres_url import read_postgres_url
from service.settings.reading import Unreadable

KEY_BYTES = 32
SHORTEST_API_KEY = 16
MOST_FORWARD_URLS = 3
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PLACEHOLDER = re.compile(r"(change[-_ ]?me[-_ ]?)+", re.IGNORECASE)
_SIZE = re.compile(r"([0-9]{1,18}) *(B|kB|KiB|MB|MiB|GB|GiB|TB|TiB)?", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmgt", start=1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BETWEEN_ITEMS = re.compile(r"\s*,\s*")
_API_KEY = re.compile(rf"[!-+\--~]{{{SHORTEST_API_KEY},}}")
_HOST = re.compile(
    r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
)


def tidy(value: object) -> object:
    """Remove surrounding blanks and line ends; refuse text that cannot be sent."""
    if isinstance(value, Unreadable):
        raise ValueError(value.reason)  # noqa: TRY004 - pydantic collects ValueError alone
    if isinstance(value, str):
        value = value.strip()
        if _CONTROL.search(_BETWEEN_ITEMS.sub(",", value)):
            raise ValueError("contains a line end, another control character or broken UTF-8")
    return value


def _split(value: object) -> object:
    """Split a comma list; an empty one has no items."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")] if value.strip() else []
    return value


def _parts(url: str) -> SplitResult:
    """Split an address; Python's own error would quote it with its password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("is not an address") from None
    return parts


def refuse_placeholder(text: str) -> None:
    """Raise ValueError for the placeholders of the examples."""
    if _PLACEHOLDER.fullmatch(text):
        raise ValueError("is the placeholder of an example: replace it")


def _secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text.strip():
        raise ValueError("is blank")
    refuse_placeholder(text)
    return secret


def _api_key(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    refuse_placeholder(text)
    if len(text) < SHORTEST_API_KEY:
        raise ValueError(f"each key needs at least {SHORTEST_API_KEY} characters")
    if not _API_KEY.fullmatch(text):
        raise ValueError("keys are ASCII letters, digits and punctuation, without blanks")
    return secret


def _encryption_key(secret: SecretStr) -> SecretStr:
    refuse_placeholder(secret.get_secret_value())
    try:
        key = base64.b64decode(secret.get_secret_value(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"each key is {KEY_BYTES} random bytes in URL-safe base64")
    return secret


def _database_url(secret: SecretStr) -> SecretStr:
    refuse_placeholder(read_postgres_url(secret.get_secret_value()).password or "")
    return secret


def _http_parts(url: str) -> SplitResult:
    parts = _parts(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or " " in url or "#" in url:
        raise ValueError("is an http or https address")
    return parts


def _listening_host(host: str) -> str:
    host = host.removeprefix("[").removesuffix("]")
    if not host or set(host) & set(" /@[]"):
        raise ValueError("is an address or a host name, such as 0.0.0.0 or ::")
    return host


def _base_url(url: str) -> str:
    if _http_parts(url).query:
        raise ValueError("is an http or https address without a query")
    return url.rstrip("/")


def _service_url(url: str) -> str:
    return _base_url(url) if url else ""


def _forward_url(secret: SecretStr) -> SecretStr:
    _http_parts(secret.get_secret_value())
    return secret


def _all_different(secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if len({secret.get_secret_value() for secret in secrets}) < len(secrets):
        raise ValueError("names an address twice")
    return secrets


def _picture_host(text: str) -> str:
    """Normalise a host name, or an origin such as `http://127.0.0.1:9000`."""
    if "://" not in text:
        if not _HOST.fullmatch(text.lower()):
            raise ValueError("each is a host name, or a whole origin such as http://127.0.0.1:9000")
        return text.lower()
    parts = _http_parts(text.rstrip("/"))
    if parts.path or parts.query or "@" in parts.netloc:
        raise ValueError("an origin is a scheme, a host and a port, without path or password")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _size_in_bytes(value: object) -> object:
    """Read a number of bytes, or one with a unit such as `512MiB`."""
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value)
    if found is None:
        raise ValueError("is a number of bytes, or one with a unit, such as 512MiB")
    return int(found[1]) * _SIZE_UNITS[(found[2] or "").lower()]


def _intake_url(secret: SecretStr) -> SecretStr:
    for node in read_nats_urls(secret.get_secret_value()) if secret.get_secret_value() else ():
        refuse_placeholder(node.password or "")
    return secret


_Item = BeforeValidator(tidy)
_List = (NoDecode, BeforeValidator(_split))

Secret = Annotated[SecretStr, _Item, AfterValidator(_secret)]
Secrets = Annotated[tuple[Secret, ...], *_List, Field(min_length=1)]
ApiKeys = Annotated[
    tuple[Annotated[SecretStr, _Item, AfterValidator(_api_key)], ...], *_List, Field(min_length=1)
]
EncryptionKeys = Annotated[
    tuple[Annotated[SecretStr, _Item, AfterValidator(_encryption_key)], ...],
    *_List,
    Field(min_length=1),
]
HttpUrl = Annotated[str, AfterValidator(_base_url)]
ListeningHost = Annotated[str, AfterValidator(_listening_host)]
ServiceUrl = Annotated[str, AfterValidator(_service_url)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
IntakeUrl = Annotated[SecretStr, AfterValidator(_intake_url)]
SizeInBytes = Annotated[int, BeforeValidator(_size_in_bytes), Field(ge=1)]
PictureHosts = Annotated[
    tuple[Annotated[str, _Item, AfterValidator(_picture_host)], ...], *_List, Field(min_length=1)
]
ForwardUrls = Annotated[
    tuple[Annotated[SecretStr, _Item, AfterValidator(_forward_url)], ...],
    *_List,
    Field(max_length=MOST_FORWARD_URLS),
    AfterValidator(_all_different),
]
