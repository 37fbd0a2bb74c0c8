"""The Helm chart: rendered by Helm's engine, checked against the schemas of Kubernetes."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Iterator

import psycopg
import pytest
import yaml

from normlab import __version__
from normlab.specs.jobs import JobSpec
from service.jobs import leases, submissions
from service.settings import Settings
from service.store.database import Database

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + 64 * "a"
CUDA = {
    "device": "cuda",
    "image": "normlab-worker-cuda",
    "slots": 4,
    "gpus": 4,
    "scaling": {"enabled": True, "min": 0, "max": 16},
    "nodeSelector": {"nvidia.com/gpu.present": "true"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
}
IPU = {"device": "ipu", "image": "normlab-worker-ipu", "ipus": 4, "replicas": 2}
SECRET = {"secret": {"name": "lab-secrets"}}
VALUES: dict[str, dict[str, Any]] = {
    "plain": SECRET,
    "all": {
        **SECRET,
        "images": {"registry": "registry.example/", "digests": {"normlab-api": DIGEST}},
        "api": {"replicas": 2, "trustedProxies": "10.0.0.0/8"},
        "ingress": {"enabled": True, "host": "lab.example", "tlsSecret": "lab-tls"},
        "workers": {"cuda": CUDA, "ipu": IPU},
        "data": {"datasetsClaim": "datasets"},
        "network": {"servers": {"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}},
        "extraEnv": [{"name": "NORMLAB_LOG_LEVEL", "value": "debug"}],
    },
    "no secret": {},
    "unknown field": {**SECRET, "workers": {"cpu": {"gpu": 1}}},
    "unknown device": {**SECRET, "workers": {"tpu": {"device": "tpu", "image": "x"}}},
    "a tag for a digest": {**SECRET, "images": {"digests": {"normlab-api": "latest"}}},
    "scaled IPUs": {**SECRET, "workers": {"ipu": {**IPU, "scaling": {"enabled": True}}}},
}
NATIVE = ("plain", "all")
# these kinds belong to operators, not to Kubernetes itself
FOREIGN = {"keda.sh/v1alpha1", "graphcore.ai/v1alpha1"}

pytestmark = [
    pytest.mark.skipif(find_spec(name) is None, reason=f"{package} is not installed here")
    for name, package in (
        ("helm_python", "helm-python-sdk"),
        ("kubernetes_validate", "kubernetes-validate"),
    )
]


@lru_cache(maxsize=1)
def _answer() -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.charts.rendering"]
    done = subprocess.run(
        command, input=json.dumps(VALUES), capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def objects(name: str) -> list[dict[str, Any]]:
    files = _answer()["rendered"][name]["files"]
    manifests = [text for path, text in files.items() if path.endswith(".yaml")]
    return [one for text in manifests for one in yaml.safe_load_all(text) if one]


def of_kind(name: str, kind: str) -> list[dict[str, Any]]:
    return [one for one in objects(name) if one["kind"] == kind]


def pods(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the template of each kind of pod."""
    for one in objects(name):
        spec = one.get("spec", {})
        template = spec.get("template") or spec.get("workers", {}).get("template")
        if template:
            yield one["metadata"]["name"], template


def containers(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for owner, template in pods(name):
        spec = template["spec"]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            yield f"{owner}/{container['name']}", container


def test_helms_linter_finds_nothing() -> None:
    report = _answer()["lint"]
    assert report["errors"] in ([], None)
    assert not [m for m in report["messages"] or [] if m["severity"] > 1]


@pytest.mark.parametrize("version", ["1.29", "1.37"])
@pytest.mark.parametrize("name", NATIVE)
def test_every_object_has_the_form_that_kubernetes_asks_for(name: str, version: str) -> None:
    import kubernetes_validate

    checked = [one for one in objects(name) if one["apiVersion"] not in FOREIGN]
    assert {"Deployment", "Job", "Service", "NetworkPolicy"} <= {one["kind"] for one in checked}
    for one in checked:
        kubernetes_validate.validate(one, version, strict=True)


def test_a_pod_within_an_object_of_another_operator_has_that_form_too() -> None:
    import kubernetes_validate

    (job,) = of_kind("all", "IPUJob")
    template = job["spec"]["workers"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": template["spec"]}
    kubernetes_validate.validate(pod, "1.37", strict=True)


def test_no_two_objects_have_one_name() -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in objects("all")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", NATIVE)
def test_no_container_may_more_than_it_needs(name: str) -> None:
    for owner, template in pods(name):
        context = template["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True, owner
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, owner
        assert template["spec"]["automountServiceAccountToken"] is False, owner
    for owner, container in containers(name):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True, owner
        assert context["allowPrivilegeEscalation"] is False, owner
        assert context["capabilities"]["drop"] == ["ALL"], owner
        added = ["IPC_LOCK"] if "ipu" in owner else []
        assert context["capabilities"].get("add", []) == added, owner
        assert container["resources"].get("limits") or "ipu" in owner or "cuda" in owner, owner


@pytest.mark.parametrize("name", NATIVE)
def test_secrets_are_named_and_not_written(name: str) -> None:
    for owner, container in containers(name):
        for variable in container.get("env", []):
            if variable["name"].endswith(("_URL", "_TOKEN")):
                named = variable["valueFrom"]["secretKeyRef"]["name"]
                assert named == "lab-secrets", (owner, variable)


@pytest.mark.parametrize("name", NATIVE)
def test_containers_get_only_settings_that_exist(name: str) -> None:
    known = {f"NORMLAB_{field.upper()}" for field in Settings.model_fields}
    told = {v["name"] for _, container in containers(name) for v in container.get("env", [])}
    assert {variable for variable in told if variable.startswith("NORMLAB_")} <= known
    assert "NORMLAB_DATABASE_URL" in told


def test_every_part_that_stays_is_probed() -> None:
    for owner, container in containers("all"):
        if "migrate" not in owner:
            assert "startupProbe" in container, owner


def test_the_schema_is_updated_before_anything_starts() -> None:
    (job,) = of_kind("plain", "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    # nothing of the release exists before its first hook
    assert "serviceAccountName" not in job["spec"]["template"]["spec"]
    assert not [v for v in job["spec"]["template"]["spec"]["volumes"] if "emptyDir" not in v]


def test_workers_ask_for_their_devices() -> None:
    (deployment,) = [d for d in of_kind("all", "Deployment") if "cuda" in d["metadata"]["name"]]
    spec = deployment["spec"]["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": 4}
    assert spec["nodeSelector"] == CUDA["nodeSelector"]
    assert spec["tolerations"] == CUDA["tolerations"]
    (job,) = of_kind("all", "IPUJob")
    assert job["spec"]["ipusPerJobInstance"] == "4"
    assert job["spec"]["jobInstances"] == 2


def test_a_digest_is_used_instead_of_a_tag() -> None:
    images = {container["image"] for _, container in containers("all")}
    assert f"registry.example/normlab-api@{DIGEST}" in images
    assert f"registry.example/normlab-worker-cuda:{__version__}" in images


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((ROOT / "charts" / "normlab" / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__


def test_every_pod_has_a_policy_and_only_the_api_is_reached_from_outside() -> None:
    policies = {
        p["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: p["spec"]
        for p in of_kind("all", "NetworkPolicy")
    }
    for owner, template in pods("all"):
        labels = template["metadata"]["labels"]
        assert labels["app.kubernetes.io/component"] in policies, owner
    assert policies["migrate"]["ingress"] == []
    assert policies["api"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": "http"}]}]
    (peer,) = policies["worker"]["ingress"][0]["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "worker"
    for part, policy in policies.items():
        servers = [rule for rule in policy["egress"] if rule.get("to", [{}])[0].get("ipBlock")]
        assert [p["port"] for p in servers[0]["ports"]] == [5432, 6379], part


def test_scaling_leaves_the_number_of_pods_to_keda() -> None:
    (scaled,) = of_kind("all", "ScaledObject")
    (deployment,) = [d for d in of_kind("all", "Deployment") if "cuda" in d["metadata"]["name"]]
    assert "replicas" not in deployment["spec"]
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["targetQueryValue"] == "4"
    (authentication,) = of_kind("all", "TriggerAuthentication")
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert of_kind("plain", "ScaledObject") == []


def test_kedas_query_counts_the_jobs_that_need_a_worker(
    database: Database, database_url: str
) -> None:
    (scaled,) = of_kind("all", "ScaledObject")
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    how = {"owner": "me", "device_reason": "it is asked for"}
    spec = JobSpec.model_validate({"normalizer": "batch", "dataset": {"name": "digits"}})
    for device in ("cuda", "cuda", "cuda", "cpu"):
        submissions.submit(database, spec, device=device, **how)
    claim = leases.claim(database, "cuda", "a-worker", 60)
    assert claim is not None
    with psycopg.connect(database_url) as connection:
        assert connection.execute(query).fetchone() == (3,)  # with the one that runs
        connection.execute(
            "update job set not_before = clock_timestamp() + interval '1 hour'"
            " where id = (select id from job where device = 'cuda' and state = 'queued' limit 1)"
        )
        assert connection.execute(query).fetchone() == (2,)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no secret", "secret"),
        ("unknown field", "gpu"),
        ("unknown device", "device"),
        ("a tag for a digest", "digests"),
        ("scaled IPUs", "workers.ipu.scaling"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(name: str, said: str) -> None:
    assert said in _answer()["rendered"][name].get("error", "it was rendered")
