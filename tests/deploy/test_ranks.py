"""deploy/ranks is what JobSet's controller takes: valid by the fields of its resource and the schema of a Job, and it starts what there is."""

import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate
import pytest
import yaml

from tests.deploy.composition import ROOT

FOLDER = ROOT / "deploy/ranks"
JOB_SET, POLICY = yaml.safe_load_all((FOLDER / "learner.yaml").read_text(encoding="utf-8"))
(JOB,) = JOB_SET["spec"]["replicatedJobs"]
POD = JOB["template"]["spec"]["template"]["spec"]


def fields(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """Return the schema of an object that has no other fields, as `kubectl` has it."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


TEXT, WHOLE = {"type": "string"}, {"type": "integer"}
# What v1alpha2 of jobset.x-k8s.io names of what stands here; the template is a Job's, and is validated as one.
SCHEMA = fields(
    ("replicatedJobs",),
    coordinator=fields(("replicatedJob",), replicatedJob=TEXT, jobIndex=WHOLE, podIndex=WHOLE),
    failurePolicy=fields(maxRestarts=WHOLE, restartStrategy={"enum": ["Recreate", "BlockingRecreate", "InPlaceRestart"]}),
    network=fields(enableDNSHostnames={"type": "boolean"}, publishNotReadyAddresses={"type": "boolean"}, subdomain=TEXT),
    replicatedJobs={"type": "array", "items": fields(("name", "template"), name=TEXT, groupName=TEXT, replicas=WHOLE, template={})},
    successPolicy=fields(("operator",), operator={"enum": ["All", "Any"]}, targetReplicatedJobs={"type": "array", "items": TEXT}),
    suspend={"type": "boolean"},
)


def faults(spec: dict[str, Any]) -> str:
    return " ".join(str(error.instance_path) + error.message for error in jsonschema_rs.validator_for(SCHEMA).iter_errors(spec))


def test_the_set_is_one_that_its_controller_takes() -> None:
    assert (JOB_SET["apiVersion"], JOB_SET["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert faults(JOB_SET["spec"]) == ""
    kubernetes_validate.validate(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "any"}, **JOB["template"]}, "1.35", strict=True
    )
    kubernetes_validate.validate(POLICY, "1.35", strict=True)


@pytest.mark.parametrize(("name", "value"), [("failurePolicy", {"restartStrategy": "Never"}), ("replicatedJob", [])])
def test_a_set_that_its_controller_would_not_take_is_found(name: str, value: object) -> None:
    assert faults({**JOB_SET["spec"], name: value})


def test_torchrun_starts_as_many_ranks_as_there_are_pods_and_finds_them_by_the_first_ones_name() -> None:
    spec, (container,) = JOB["template"]["spec"], POD["containers"]
    command = container["command"][-1]

    assert spec["completionMode"] == "Indexed"
    assert f"--nnodes={spec['completions']} " in command
    assert spec["parallelism"] == spec["completions"]
    assert f"--master-addr={JOB_SET['metadata']['name']}-{JOB['name']}-0-0.{JOB_SET['metadata']['name']} " in command
    assert spec["backoffLimit"] == 0  # a rank that is lost starts all again
    assert command.endswith("sml learn")


def test_a_rank_has_the_rights_of_a_learner_and_stands_in_its_place(kubectl: Path) -> None:
    deployment, _ = yaml.safe_load_all((ROOT / "deploy/kubernetes/learner.yaml").read_text(encoding="utf-8"))
    alone = deployment["spec"]["template"]["spec"]
    (one,), (rank,) = alone["containers"], POD["containers"]

    assert all(POD[name] == alone[name] for name in ("securityContext", "automountServiceAccountToken"))
    assert all(rank[name] == one[name] for name in ("securityContext", "env", "resources", "volumeMounts"))
    done = subprocess.run([kubectl, "kustomize", FOLDER], stdout=subprocess.PIPE, text=True, check=True)
    (learner,) = [each for each in yaml.safe_load_all(done.stdout) if each["metadata"]["name"] == "learner"]
    pod = learner["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert learner["kind"] == "JobSet"
    assert pod["containers"][0]["image"] == "registry.example.com/sml-online:0.2.0"
    assert pod["volumes"][0]["configMap"]["name"].startswith("sml-settings-")
