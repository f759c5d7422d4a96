"""The chart's objects are what Kubernetes takes, and its pods what an operator would choose."""

import json
import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Iterator

import kubernetes_validate
import pytest
import yaml
from helm_python import lint

from shared.pulse import VARIABLE
from shared.settings import PREFIX, Settings
from tests.deploy import carried
from tests.deploy.charts import (
    FOLDER,
    MINIMAL,
    SETS,
    Object,
    component,
    container,
    objects,
    of_kind,
    over,
    render,
    selects,
    templates,
)

OLDEST, NEWEST = "1.27", "1.37"
OWN_OF_OTHERS = {"ScaledObject", "ServiceMonitor", "PrometheusRule"}
"""Kinds whose schemas do not come with Kubernetes'; test_chart_watching.py looks at them."""

every_set = pytest.mark.parametrize("name", SETS)


@pytest.mark.parametrize(("name", "version"), [*((name, NEWEST) for name in SETS), ("everything", OLDEST)])
def test_kubernetes_takes_every_object(name: str, version: str) -> None:
    made = objects(SETS[name])
    for one in made:
        if one["kind"] not in OWN_OF_OTHERS:
            kubernetes_validate.validate(one, version, strict=True)
    assert len({(one["kind"], one["metadata"]["name"]) for one in made}) == len(made)


@every_set
def test_helm_finds_nothing_to_complain_of(name: str) -> None:
    said = lint(str(FOLDER), SETS[name], strict=True)
    assert said["errors"] == []
    assert [one["error"] for one in said["messages"] if one["severity"] > 1] == []


@every_set
def test_every_pod_is_hardened(name: str) -> None:
    for _, template in templates(objects(SETS[name])):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container(template)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(spec)
        assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
        assert container(template)["resources"]["limits"]["memory"]
        assert set(container(template)["resources"]["requests"]) == {"cpu", "memory"}


@every_set
def test_a_service_of_this_namespace_never_becomes_a_setting(name: str) -> None:
    # A release called warehouse-sync has a Service warehouse-sync-metrics: WAREHOUSE_SYNC_METRICS_PORT=tcp://...
    assert all(template["spec"]["enableServiceLinks"] is False for _, template in templates(objects(SETS[name])))


@every_set
def test_every_pod_may_write_in_tmp_and_little_else(name: str) -> None:
    for kind, template in templates(objects(SETS[name])):
        writable = {
            mount["mountPath"] for mount in container(template)["volumeMounts"] if not mount.get("readOnly", False)
        }
        assert writable - {"/spool", "/var/lib/flower"} == {"/tmp"}, kind  # noqa: S108 - the container's own
        names = Counter(volume["name"] for volume in template["spec"]["volumes"])
        assert set(names) == {mount["name"] for mount in container(template)["volumeMounts"]}
        assert max(names.values()) == 1


@every_set
def test_selectors_select_their_pods_and_no_others(name: str) -> None:
    made = objects(SETS[name])
    pods = {kind: template["metadata"]["labels"] for kind, template in templates(made)}
    for one in of_kind("Deployment", made):
        (kind,) = (kind for kind, labels in pods.items() if selects(labels, one["spec"]["selector"]))
        assert one["metadata"]["name"] == f"prod-warehouse-sync-{kind}"
    for one in of_kind("Service", made):
        chosen = [kind for kind, labels in pods.items() if selects(labels, {"matchLabels": one["spec"]["selector"]})]
        assert chosen in (["api"], ["flower"])
        names = {port["name"] for port in container(component(chosen[0], made))["ports"]}
        assert {port["targetPort"] for port in one["spec"]["ports"]} <= names
    for one in of_kind("PodDisruptionBudget", made):
        assert sum(selects(labels, one["spec"]["selector"]) for labels in pods.values()) == 1
        assert one["spec"]["maxUnavailable"] == 1


def test_every_kind_of_process_has_a_disruption_budget_but_what_is_alone() -> None:
    made = objects(SETS["everything"])
    budgets = {one["metadata"]["labels"]["app.kubernetes.io/component"] for one in of_kind("PodDisruptionBudget", made)}
    assert budgets == {kind for kind, _ in templates(made)} - {"migrate", "flower"}


def test_versions_change_no_selector() -> None:
    old, new = objects(MINIMAL), objects(over(MINIMAL, {"image": {"tag": "9.9.9"}}))
    selectors = [[one["spec"]["selector"] for one in of_kind("Deployment", made)] for made in (old, new)]
    assert selectors[0] == selectors[1]


def test_the_longest_name_still_tells_all_processes_apart() -> None:
    names = [one["metadata"]["name"] for one in of_kind("Deployment", objects(MINIMAL, release="r" * 53))]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 63


OTHERS_VARIABLES = {"HOME", "REMAP_SIGTERM", "PGSSLROOTCERT", "SSL_CERT_FILE", "AWS_CA_BUNDLE", "AWS_ACCESS_KEY_ID"}


@every_set
def test_every_variable_is_a_setting_that_the_program_reads(name: str) -> None:
    known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields} | OTHERS_VARIABLES
    for kind, template in templates(objects(SETS[name])):
        names = [variable["name"] for variable in container(template)["env"]]
        assert len(set(names)) == len(names), kind
        references = {one for one in names if one.startswith(f"{PREFIX}SECRET_") and not one.endswith("_FOLDER")}
        channels = {one for one in names if one.startswith(f"{PREFIX}ALERT_")}
        assert set(names) - references - channels - known == set(), kind
    assert VARIABLE in known


def test_the_chart_carries_the_settings_the_rules_and_the_dashboard_as_they_are() -> None:
    assert (FOLDER / "values.schema.json").read_text() == carried.schema(), "run `make chart`"
    for original in carried.COPIES:
        assert (FOLDER / "files" / original.name).read_bytes() == original.read_bytes(), "run `make chart`"


def test_the_chart_is_of_this_version() -> None:
    version = tomllib.loads((carried.ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((FOLDER / "Chart.yaml").read_text())["appVersion"] == version


def test_every_value_is_explained_where_its_default_stands() -> None:
    schema = json.loads((FOLDER / "values.schema.json").read_text())
    defaults = yaml.safe_load((FOLDER / "values.yaml").read_text())
    assert sorted(_unsaid(schema["properties"], defaults)) == ["global"]


PLACED = {"nodeSelector", "tolerations", "affinity", "priorityClassName", "annotations"}
"""What each process may have of its own in place of what `pod` says, as a comment in values.yaml tells."""


def _unsaid(properties: Object, defaults: Object, path: str = "") -> Iterator[str]:
    for name, schema in properties.items():
        if name not in defaults:
            if name not in PLACED | {"extraEnv", "extraVolumes", "extraVolumeMounts"}:
                yield f"{path}{name}"
        elif isinstance(defaults[name], dict) and defaults[name]:
            yield from _unsaid(schema.get("properties", {}), defaults[name], f"{path}{name}.")


def test_settings_arrive_as_the_program_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "spool_soft_bytes": 21474836480,
        "request_timeout_s": 12.5,
        "feed_hosts": ["a.example.com"],
        "workspace_id": "007",
    }
    for variable in container(component("beat", objects(over(MINIMAL, {"settings": told}))))["env"]:
        if "value" in variable:
            monkeypatch.setenv(variable["name"], variable["value"])
    read = Settings()
    assert (read.spool_soft_bytes, read.request_timeout_s) == (21474836480, 12.5)
    assert (read.feed_hosts, read.workspace_id) == (("a.example.com",), "007")


def test_migrations_run_first_with_nothing_that_the_chart_itself_makes() -> None:
    made = objects(SETS["everything"])
    (job,) = of_kind("Job", made)
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    spec = job["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] not in {one["metadata"]["name"] for one in of_kind("ServiceAccount", made)}
    assert {next(iter(set(volume) - {"name"})) for volume in spec["volumes"]} <= {"emptyDir", "configMap"}
    assert container(job["spec"]["template"])["command"] == ["warehouse-sync", "migrate"]
    hooks = [one for one in made if "helm.sh/hook" in one["metadata"].get("annotations", {})]
    assert sorted(one["kind"] for one in hooks) == ["Job", "NetworkPolicy"]


def test_the_notes_say_how_to_sign_in_first_and_name_what_is_open() -> None:
    notes = render(MINIMAL)["warehouse-sync/templates/NOTES.txt"]
    (line,) = re.findall(r"kubectl .*tokens create.*", notes)
    assert shlex.split(line)[:5] == ["kubectl", "--namespace", "sync", "exec", "deploy/prod-warehouse-sync-beat"]
    assert "only port-forward reaches the API" in notes
