"""deploy/kubernetes is valid for every Kubernetes that is supported, as it stands and as kubectl renders it.

What it refers to is there, and no pod may do more than it needs.
"""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.watch.written import rules
from service.access.origin import allowed_hosts, check_host
from service.access.roles import PROBES
from service.listen import SHUTDOWN_TIMEOUT
from service.settings import Settings
from tests.deploy.composition import ROOT, read

FOLDER = ROOT / "deploy/kubernetes"
SUPPORTED = ("1.35", "1.36", "1.37")  # by Kubernetes itself
OPERATOR = "monitoring.coreos.com/v1"  # whose resources are of no Kubernetes
KUSTOMIZATION = read("deploy/kubernetes/kustomization.yaml")
RESOURCES: list[dict[str, Any]] = [
    document for name in KUSTOMIZATION["resources"] for document in yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))
]
WORKLOADS = {each["metadata"]["name"]: each for each in RESOURCES if each["kind"] in {"Deployment", "Job"}}
PODS = {name: each["spec"]["template"]["spec"] for name, each in WORKLOADS.items()}
SETTINGS = tomllib.loads((FOLDER / "sml.toml").read_text(encoding="utf-8"))


def one(kind: str) -> dict[str, Any]:
    (found,) = [each for each in RESOURCES if each["kind"] == kind]
    return found


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_resource_is_valid_for_each_kubernetes_that_is_supported(version: str) -> None:
    checked = [each for each in RESOURCES if each["apiVersion"] != OPERATOR]

    for resource in checked:
        kubernetes_validate.validate(resource, version, strict=True)

    assert len(checked) == 13
    assert {each["kind"] for each in RESOURCES if each["apiVersion"] == OPERATOR} == {"PodMonitor", "PrometheusRule"}


def test_a_resource_that_is_not_valid_is_found() -> None:
    wrong = {**one("Service"), "spec": {"ports": "http"}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, SUPPORTED[-1], strict=True)


@pytest.fixture(scope="module")
def rendered(kubectl: Path) -> str:
    """Return what kubectl makes of the folder."""
    return subprocess.run([kubectl, "kustomize", FOLDER], stdout=subprocess.PIPE, text=True, check=True).stdout


def test_kubectl_renders_what_is_there_into_one_namespace_with_one_image(rendered: str) -> None:
    resources = list(yaml.safe_load_all(rendered))

    assert {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"} == set(KUSTOMIZATION["resources"])
    assert sorted(each["kind"] for each in resources) == sorted([*(each["kind"] for each in RESOURCES), "ConfigMap"])
    assert {each["metadata"].get("namespace") for each in resources if each["kind"] != "Namespace"} == {"sml"}
    assert set(re.findall(r"image: (\S+)", rendered)) == {"registry.example.com/sml-online:0.2.0"}
    parts = [each["metadata"] for each in resources] + [
        each["spec"]["template"]["metadata"] for each in resources if "template" in each.get("spec", {})
    ]
    assert {each["labels"]["app.kubernetes.io/part-of"] for each in parts} == {"sml-online"}


def test_every_pod_that_is_rendered_mounts_the_settings_by_the_name_that_ends_with_their_hash(rendered: str) -> None:
    (settings,) = [each for each in yaml.safe_load_all(rendered) if each["kind"] == "ConfigMap"]

    mounted = re.findall(r"name: (sml-settings\S*)", rendered)

    assert settings["data"] == {"sml.toml": (FOLDER / "sml.toml").read_text(encoding="utf-8")}
    assert re.fullmatch(r"sml-settings-\w+", settings["metadata"]["name"])
    assert mounted == [settings["metadata"]["name"]] * (1 + len(PODS))


@pytest.mark.parametrize("version", SUPPORTED)
def test_what_is_rendered_is_valid_for_each_kubernetes_that_is_supported(version: str, rendered: str) -> None:
    checked = [each for each in yaml.safe_load_all(rendered) if each["apiVersion"] != OPERATOR]

    for resource in checked:
        kubernetes_validate.validate(resource, version, strict=True)

    assert len(checked) == 14


def test_the_site_of_ten_machines_is_the_base_with_its_own_image_and_settings(kubectl: Path, tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "deploy/kubernetes")
    site = tmp_path / "site"
    site.mkdir()
    shown = re.search(
        r"```yaml\n(resources: \[../deploy/kubernetes\].*?)```", (ROOT / "docs/scale.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert shown
    (site / "kustomization.yaml").write_text(shown[1], encoding="utf-8")
    (site / "sml.toml").write_text("[log]\npartitions = 16\n", encoding="utf-8")

    done = subprocess.run([kubectl, "kustomize", site], stdout=subprocess.PIPE, text=True, check=True)

    assert len(list(yaml.safe_load_all(done.stdout))) == len(RESOURCES) + 1
    assert set(re.findall(r"image: (\S+)", done.stdout)) == {"registry.example.org/sml-online:1"}
    assert "partitions = 16" in done.stdout
    assert "kafka-bootstrap" not in done.stdout


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_pod_has_no_right_no_writable_root_and_its_share_of_the_machine(name: str) -> None:
    pod = PODS[name]
    (container,) = pod["containers"]

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()


@pytest.mark.parametrize("name", WORKLOADS)
def test_what_a_pod_mounts_is_declared_and_a_secret_is_only_referred_to(name: str) -> None:
    pod = PODS[name]
    (container,) = pod["containers"]
    claims = {each["metadata"]["name"] for each in RESOURCES if each["kind"] == "PersistentVolumeClaim"}

    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert {volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume} <= claims
    assert {volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume} == {"sml-settings"}
    assert [each for each in RESOURCES if each["kind"] == "Secret"] == []
    assert [env["name"] for env in container["env"] if "PASSWORD" in env["name"] or "KEY" in env["name"]] == []


def files(pod: dict[str, Any]) -> Iterator[str]:
    """Yield the path of every file of a secret in a pod's container."""
    at = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    for volume in pod["volumes"]:
        secrets = [source["secret"] for source in volume.get("projected", {}).get("sources", [])]
        for secret in [*secrets, *([volume["secret"]] if "secret" in volume else [])]:
            yield from (f"{at[volume['name']]}/{item['path']}" for item in secret["items"])


def test_the_settings_are_settings_and_name_the_files_that_are_mounted() -> None:
    security = SETTINGS["log"]["security"]
    logged_in = {**SETTINGS["log"], "security": {**security, "username": "server"}}  # each pod's own, from its environment

    settings = Settings.model_validate({**SETTINGS, "log": logged_in})

    named = {security["ca_file"], security["password_file"], SETTINGS["access"]["keys"]}
    assert settings.log.security.protocol == "SASL_SSL"
    assert all(set(files(PODS[name])) == named for name in ("joiner", "learner", "server"))
    assert set(files(PODS["topics"])) == {security["ca_file"], security["password_file"]}


def test_joiner_and_learner_are_one_each_and_end_before_the_next_begins() -> None:
    for name in ("joiner", "learner"):
        assert WORKLOADS[name]["spec"]["replicas"] == 1
        assert WORKLOADS[name]["spec"]["strategy"] == {"type": "Recreate"}
    assert PODS["learner"]["terminationGracePeriodSeconds"] >= 60
    assert {"mountPath": "/srv/sml/data", "name": "checkpoints"} in PODS["learner"]["containers"][0]["volumeMounts"]


def test_a_server_is_asked_once_it_has_caught_up_and_ends_when_nobody_asks_it_any_more() -> None:
    (container,) = PODS["server"]["containers"]
    drained = container["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe")} == {"/healthz"}
    assert {container[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")} <= PROBES
    assert PODS["server"]["terminationGracePeriodSeconds"] >= drained + SHUTDOWN_TIMEOUT
    assert drained >= 5
    assert WORKLOADS["server"]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_servers_are_as_many_as_the_autoscaler_says_apart_and_never_all_away() -> None:
    scaler, budget, service = one("HorizontalPodAutoscaler"), one("PodDisruptionBudget"), one("Service")
    labels = WORKLOADS["server"]["spec"]["template"]["metadata"]["labels"]

    assert "replicas" not in WORKLOADS["server"]["spec"]
    assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "server"}
    assert scaler["spec"]["minReplicas"] >= 2
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    constraints = PODS["server"]["topologySpreadConstraints"]
    assert {each["topologyKey"] for each in constraints} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    assert all(each["labelSelector"]["matchLabels"] == labels for each in constraints)


def test_nothing_goes_in_or_out_that_no_policy_allows() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in RESOURCES if each["kind"] == "NetworkPolicy"}
    listening = {port["containerPort"] for pod in PODS.values() for port in pod["containers"][0].get("ports", [])}

    assert policies["nothing-else"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    opened = {port["port"] for spec in policies.values() for rule in spec.get("ingress", []) for port in rule["ports"]}
    assert opened == listening == {8000, 9101, 9102}
    assert all(rule["from"] for spec in policies.values() for rule in spec.get("ingress", []))
    out = {port["port"] for spec in policies.values() for rule in spec.get("egress", []) for port in rule["ports"]}
    assert out == {53, int(SETTINGS["log"]["url"].rpartition(":")[2])}


def test_prometheus_asks_every_process_by_a_name_that_it_answers_to_and_watches_the_same_alerts() -> None:
    monitor, rule = one("PodMonitor")["spec"], one("PrometheusRule")["spec"]
    (names,) = [each["values"] for each in monitor["selector"]["matchExpressions"]]

    assert monitor["jobLabel"] == "app.kubernetes.io/name"
    assert set(names) == {"joiner", "learner", "server"}
    ports = {port["name"] for name in names for port in PODS[name]["containers"][0]["ports"]}
    assert {each["port"] for each in monitor["podMetricsEndpoints"]} == ports
    assert [each for group in rule["groups"] for each in group["rules"]] == rules()
    given = {env["name"]: env.get("value", "") for env in PODS["server"]["containers"][0]["env"]}
    allowed = allowed_hosts("0.0.0.0", json.loads(given["SML_SERVE__HOSTS"]))
    for host in ("server", "server.sml.svc:80", "10.0.0.7:8000"):  # how a pod asks, and how Prometheus does
        check_host({b"host": host.encode()}, allowed)
