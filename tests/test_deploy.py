"""What lies in deploy/ is valid, and names only settings that exist."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml  # type: ignore[import-untyped]  # not worth a package of stubs

from service.settings import Settings

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
