"""The environment as typed values; every fault is named at once, no value is ever shown."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import SettingsError

KEY_BYTES = 32
SHORTEST_API_KEY = 16
_POSTGRES_SCHEMES = ("postgres", "postgresql")
_NATS_SCHEMES = ("nats", "tls")


def _parts(url: str) -> SplitResult:
    """Split an address; Python's own complaint would quote it, password and all."""
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError("is not an address") from None


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _not_blank(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().strip():
        raise ValueError("is blank")
    return secret


def _api_key(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < SHORTEST_API_KEY:
        raise ValueError(f"each key needs at least {SHORTEST_API_KEY} characters")
    if not secret.get_secret_value().isascii():
        raise ValueError("keys are ASCII")
    return secret


def _encryption_key(secret: SecretStr) -> SecretStr:
    try:
        key = base64.urlsafe_b64decode(secret.get_secret_value())
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"each key is {KEY_BYTES} random bytes in URL-safe base64")
    return secret


def _database_url(secret: SecretStr) -> SecretStr:
    if _parts(secret.get_secret_value()).scheme not in _POSTGRES_SCHEMES:
        raise ValueError("begins with postgresql://")
    return secret


def _http_url(url: str) -> str:
    parts = _parts(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ValueError("is an http or https address")
    return url.rstrip("/")


def _service_url(url: str) -> str:
    return _http_url(url) if url else ""


def _intake_url(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    if url and not all(_parts(part.strip()).scheme in _NATS_SCHEMES for part in url.split(",")):
        raise ValueError("is empty or nats://host:port[,…]")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_not_blank)]
Secrets = Annotated[tuple[Secret, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)]
ApiKeys = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_api_key)], ...],
    NoDecode,
    BeforeValidator(_split),
    Field(min_length=1),
]
EncryptionKeys = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_encryption_key)], ...],
    NoDecode,
    BeforeValidator(_split),
    Field(min_length=1),
]
HttpUrl = Annotated[str, AfterValidator(_http_url)]


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
        frozen=True,
    )

    log_format: Literal["json", "console"] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def load(cls) -> Self:
        """Read the environment and `.env`; raises SettingsError that names each fault."""
        try:
            return cls()
        except ValidationError as error:
            faults = sorted({_fault(tuple(e["loc"]), e["msg"]) for e in error.errors()})
            raise SettingsError(
                "These settings are missing or wrong (see .env.example):\n  " + "\n  ".join(faults)
            ) from None


class _DatabaseSettings(_Environment):
    database_url: Annotated[SecretStr, AfterValidator(_database_url)]


class StoreSettings(_DatabaseSettings):
    """What it takes to write participants; the figures are the rules of `serve`."""

    profile_ttl_days: Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)] = 7.0
    max_failures: Annotated[int, Field(ge=1, le=1000)] = 5


class MigrateSettings(_DatabaseSettings):
    """What `migrate` needs."""

    token_encryption_keys: EncryptionKeys


class GraphSettings(StoreSettings, MigrateSettings):
    """What it takes to call the Graph API with the stored tokens, inside the budget."""

    meta_app_secrets: Secrets
    graph_base_url: HttpUrl = "https://graph.facebook.com"
    instagram_graph_base_url: HttpUrl = "https://graph.instagram.com"
    graph_api_version: Annotated[str, Field(pattern=r"^v[0-9]{1,3}\.[0-9]{1,2}$")] = "v18.0"
    graph_timeout_seconds: Annotated[float, Field(gt=0, le=30, allow_inf_nan=False)] = 2.0
    graph_calls_per_second: Annotated[float, Field(ge=0.01, le=100_000, allow_inf_nan=False)] = 10.0


class Settings(GraphSettings):
    """What `serve` needs; the names and defaults are the contract's."""

    meta_verify_token: Secret
    inbox_api_keys: ApiKeys
    operator_api_keys: ApiKeys
    graph_concurrency: Annotated[int, Field(ge=1, le=1000)] = 16
    intake_url: Annotated[SecretStr, AfterValidator(_intake_url)] = SecretStr("")
    queue_capacity: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    migrate_on_start: bool = True
    host: str = "0.0.0.0"  # noqa: S104 - the contract's default: the service runs in a container
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    shutdown_timeout_seconds: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = 15.0
    # Not the contract's: for replicas that share one port, and for load balancers that take a
    # while to notice that /readyz says no.
    reuse_port: bool = False
    drain_seconds: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = 0.0


class ClientSettings(_Environment):
    """What a command needs that talks to the running service."""

    operator_api_keys: ApiKeys
    service_url: Annotated[str, AfterValidator(_service_url)] = ""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080

    @property
    def url(self) -> str:
        """Where the service answers: SERVICE_URL, else this machine at PORT."""
        return self.service_url or f"http://127.0.0.1:{self.port}"


class DoctorSettings(GraphSettings, ClientSettings):
    """What `doctor` needs; with META_APP_ID it asks Meta about tokens in the app's own name."""

    meta_app_id: Annotated[str, Field(pattern=r"^[0-9]{0,32}$")] = ""


def secret_values(secrets: tuple[SecretStr, ...]) -> tuple[str, ...]:
    """Uncover a comma list of secrets, where they are used."""
    return tuple(secret.get_secret_value() for secret in secrets)


def _fault(loc: tuple[int | str, ...], message: str) -> str:
    return f"{str(loc[0]).upper()}: {message.removeprefix('Value error, ')}"
