"""deploy/flink is what Flink's operator takes: valid by the schema of its own resource, and what it refers to is there."""

import json
import re
from typing import Any

import jsonschema_rs
import kubernetes_validate
import pytest
import yaml
from typer.main import get_command

from service.cli import app
from stream.settings import JoinSettings
from tests.deploy.composition import ROOT

# Of flink-kubernetes-operator's flinkdeployments.flink.apache.org-v1.yml, without its status and the pod's templates.
SCHEMA = json.loads((ROOT / "tests/deploy/flink_deployment_schema.json").read_text(encoding="utf-8"))
DEPLOYMENT, POLICY = yaml.safe_load_all((ROOT / "deploy/flink/flink-deployment.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "deploy/flink/Dockerfile").read_text(encoding="utf-8")


def strict(schema: Any) -> Any:
    """Return the schema with which a field that it does not name is an error, as `kubectl` has it."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "properties" in schema and "additionalProperties" not in schema else {}
    return {name: strict(each) for name, each in schema.items()} | closed


def faults(deployment: dict[str, Any]) -> list[str]:
    schema = strict({**SCHEMA, "properties": SCHEMA["properties"] | {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}})
    return [str(error.instance_path) + error.message for error in jsonschema_rs.validator_for(schema).iter_errors(deployment)]


def test_the_deployment_is_one_that_the_operator_takes() -> None:
    assert faults(DEPLOYMENT) == []
    for template in (DEPLOYMENT["spec"]["podTemplate"], DEPLOYMENT["spec"]["taskManager"]["podTemplate"]):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "any"}, "template": template}
        kubernetes_validate.validate(pod, "1.35", strict=True)
    kubernetes_validate.validate(POLICY, "1.35", strict=True)


@pytest.mark.parametrize(
    ("name", "value", "said"), [("flinkVersion", "v9_9", "v9_9"), ("paralelism", 4, "paralelism"), ("job", {"parallelism": "four"}, "four")]
)
def test_a_deployment_that_the_operator_would_not_take_is_found(name: str, value: object, said: str) -> None:
    assert said in " ".join(faults({**DEPLOYMENT, "spec": DEPLOYMENT["spec"] | {name: value}}))


def test_state_and_checkpoints_lie_on_object_storage_and_survive_the_job() -> None:
    configuration = DEPLOYMENT["spec"]["flinkConfiguration"]

    kept = ("execution.checkpointing.dir", "execution.checkpointing.savepoint-dir", "high-availability.storageDir")
    assert all(configuration[name].startswith("s3://") for name in kept)
    assert configuration["state.backend.type"] == "rocksdb"
    assert configuration["execution.checkpointing.externalized-checkpoint-retention"] == "RETAIN_ON_CANCELLATION"


def test_prometheus_finds_the_metrics_of_a_slot_as_those_of_a_joiner() -> None:
    monitor = yaml.safe_load((ROOT / "deploy/kubernetes/pod-monitor.yaml").read_text(encoding="utf-8"))["spec"]
    template = DEPLOYMENT["spec"]["taskManager"]["podTemplate"]
    (expression,) = monitor["selector"]["matchExpressions"]
    (container,) = template["spec"]["containers"]

    assert template["metadata"]["labels"][expression["key"]] in expression["values"]
    assert container["ports"] == [{"name": monitor["podMetricsEndpoints"][0]["port"], "containerPort": JoinSettings().metrics_port}]
    assert DEPLOYMENT["spec"]["flinkConfiguration"]["taskmanager.numberOfTaskSlots"] == "1"  # the next slot's would be at 9103


def test_what_the_deployment_starts_is_there() -> None:
    job = DEPLOYMENT["spec"]["job"]
    pom = (ROOT / "service/flink/pom.xml").read_text(encoding="utf-8")
    (version,) = re.findall(r"<flink.version>(.+)</flink.version>", pom)

    assert job["args"][:2] == ["sml", "join-task"]
    assert "join-task" in get_command(app).commands  # type: ignore[attr-defined]
    assert "public final class JoinJob" in (ROOT / f"service/flink/src/main/java/{job['entryClass'].replace('.', '/')}.java").read_text()
    assert job["jarURI"].removeprefix("local:///opt/flink/") in DOCKERFILE
    assert f"FROM flink:{version}-java17" in DOCKERFILE
    assert DEPLOYMENT["spec"]["flinkVersion"] == f"v{version.rpartition('.')[0].replace('.', '_')}"
