"""Settings from the environment; all errors are reported together, without values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from msgspec.structs import replace
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.errors import SettingsError
from service.model.freshness import Rules
from service.postgres_url import read_postgres_url
from service.settings.reading import DotEnv, Environment
from service.settings.values import (
    ApiKeys,
    DatabaseUrl,
    EncryptionKeys,
    ForwardUrls,
    HttpUrl,
    IntakeUrl,
    ListeningHost,
    PictureHosts,
    Secret,
    Secrets,
    ServiceUrl,
    SizeInBytes,
    tidy,
)

GIB = 1 << 30


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
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment, then `.env`."""
        return init_settings, Environment(settings_cls), DotEnv(settings_cls)

    @field_validator("*", mode="before")
    @classmethod
    def _tidy(cls, value: Any) -> Any:  # noqa: ANN401 - a value of any setting, as it was given
        return tidy(value)

    @classmethod
    def load(cls) -> Self:
        """Read the environment and `.env`; raises SettingsError that names each wrong setting."""
        try:
            return cls()
        except ValidationError as error:
            faults = sorted({_fault(tuple(e["loc"]), e["msg"]) for e in error.errors()})
            raise SettingsError(
                "These settings are missing or wrong (see .env.example):\n  " + "\n  ".join(faults)
            ) from None


class _DatabaseSettings(_Environment):
    database_url: DatabaseUrl
    listen_database_url: DatabaseUrl | None = None

    @property
    def dsn(self) -> str:
        """The value of DATABASE_URL."""
        return self.database_url.get_secret_value()

    @property
    def listen_dsn(self) -> str:
        """Where to listen for notices: LISTEN_DATABASE_URL, else DATABASE_URL."""
        return (self.listen_database_url or self.database_url).get_secret_value()

    def warnings(self) -> Iterator[str]:
        """Name the parameters of connection strings that have no effect."""
        for name in ("database_url", "listen_database_url"):
            url: SecretStr | None = getattr(self, name)
            left_out = read_postgres_url(url.get_secret_value()).left_out if url else ()
            if left_out:
                yield f"{name.upper()}: these parameters have no effect: {', '.join(left_out)}"


class StoreSettings(_DatabaseSettings):
    """Settings of commands that write participants."""

    profile_ttl_days: Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)] = 7.0
    max_failures: Annotated[int, Field(ge=1, le=1000)] = 5

    @property
    def rules(self) -> Rules:
        """The rules for freshness and retries."""
        return Rules(timedelta(days=self.profile_ttl_days), self.max_failures)


class MigrateSettings(_DatabaseSettings):
    """Settings of `migrate`."""

    token_encryption_keys: EncryptionKeys
    seal_tokens: bool = False


class GraphSettings(StoreSettings, MigrateSettings):
    """Settings of commands that call the Graph API."""

    meta_app_secrets: Secrets
    graph_base_url: HttpUrl = "https://graph.facebook.com"
    instagram_graph_base_url: HttpUrl = "https://graph.instagram.com"
    graph_api_version: Annotated[str, Field(pattern=r"^v[0-9]{1,3}\.[0-9]{1,2}$")] = "v18.0"
    graph_timeout_seconds: Annotated[float, Field(gt=0, le=30, allow_inf_nan=False)] = 2.0
    graph_calls_per_second: Annotated[float, Field(ge=0.01, le=100_000, allow_inf_nan=False)] = 10.0
    conversation_names: bool = True
    # With it, tokens are inspected with the app access token.
    meta_app_id: Annotated[str, Field(pattern=r"^[0-9]{0,32}$")] = ""


class ForwardSettings(_DatabaseSettings):
    """Settings of the `forwards` commands."""

    forward_urls: ForwardUrls = ()
    forward_max_bytes: SizeInBytes = GIB


class Settings(GraphSettings, ForwardSettings):
    """Settings of `serve`; `.env.example` documents them."""

    meta_verify_token: Secret
    inbox_api_keys: ApiKeys
    operator_api_keys: ApiKeys
    graph_concurrency: Annotated[int, Field(ge=1, le=1000)] = 16
    intake_url: IntakeUrl = SecretStr("")
    queue_capacity: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    migrate_on_start: bool = True
    pictures: Literal["copy", "link", "off"] = "copy"
    # Domains, which include their subdomains, and origins (with "://").
    picture_hosts: PictureHosts = ("cdninstagram.com", "fbcdn.net", "fbsbx.com")
    retention_days: Annotated[float, Field(ge=0, le=36_500, allow_inf_nan=False)] = 0.0
    host: ListeningHost = "0.0.0.0"  # noqa: S104 - the service runs in a container
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    shutdown_timeout_seconds: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = 15.0
    # For replicas that share one port, and load balancers that are slow to notice a failed /readyz.
    reuse_port: bool = False
    drain_seconds: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = 0.0

    @property
    def rules(self) -> Rules:
        """The rules for freshness, retries and pictures."""
        origins = tuple(host for host in self.picture_hosts if "://" in host)
        return replace(super().rules, pictures=self.pictures, picture_origins=origins)

    @field_validator("operator_api_keys")
    @classmethod
    def _no_key_of_the_inbox(
        cls, keys: tuple[SecretStr, ...], info: ValidationInfo
    ) -> tuple[SecretStr, ...]:
        if set(keys) & set(info.data.get("inbox_api_keys", ())):
            raise ValueError("a key is in INBOX_API_KEYS too; each belongs in one list")
        return keys


class ClientSettings(_Environment):
    """Settings of commands that call the running service."""

    operator_api_keys: ApiKeys
    service_url: ServiceUrl = ""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080

    @property
    def url(self) -> str:
        """The service's URL: SERVICE_URL, else this machine at PORT."""
        return self.service_url or f"http://127.0.0.1:{self.port}"


class DoctorSettings(GraphSettings, ClientSettings):
    """Settings of `doctor`."""


def secret_values(secrets: tuple[SecretStr, ...]) -> tuple[str, ...]:
    """Return the values of secrets."""
    return tuple(secret.get_secret_value() for secret in secrets)


def _fault(loc: tuple[int | str, ...], message: str) -> str:
    return f"{str(loc[0]).upper()}: {message.removeprefix('Value error, ')}"
