"""Who may talk to whom in the cluster."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.deploy.charts import MINIMAL, SETS, Object, objects, of_kind, over, selects, templates

WORKERS = {"worker-control", "worker-extract", "worker-upload", "worker-backfill-extract", "worker-backfill-upload"}
EXTRACT = {"worker-extract", "worker-backfill-extract"}
UPLOAD = {"worker-upload", "worker-backfill-upload"}


def _policies(values: Mapping[str, Any]) -> Iterator[tuple[Object, set[str]]]:
    """Give each policy and the components that it selects."""
    made = objects(values)
    pods = {kind: template["metadata"]["labels"] for kind, template in templates(made)}
    for policy in of_kind("NetworkPolicy", made):
        yield policy, {kind for kind, labels in pods.items() if selects(labels, policy["spec"]["podSelector"])}


def _reaching(port: int, values: Mapping[str, Any]) -> set[str]:
    """Give the components that may open connections to a port somewhere."""
    return {
        kind
        for policy, kinds in _policies(values)
        for rule in policy["spec"].get("egress", [])
        if port in {one["port"] for one in rule["ports"]}
        for kind in kinds
    }


def test_all_is_denied_but_what_a_policy_allows() -> None:
    for name in ("minimal", "everything"):
        every = {kind for kind, _ in templates(objects(SETS[name]))}
        denied: set[str] = set()
        for policy, kinds in _policies(SETS[name]):
            if {"Ingress", "Egress"} == set(policy["spec"]["policyTypes"]) and "ingress" not in policy["spec"]:
                denied |= kinds
        assert denied == every


def test_every_policy_selects_somebody() -> None:
    for name in SETS:
        assert [policy["metadata"]["name"] for policy, kinds in _policies(SETS[name]) if not kinds] == []


@pytest.mark.parametrize(
    ("port", "who"),
    [
        (5432, WORKERS | {"beat", "api", "migrate"}),
        (6379, WORKERS | {"beat", "api", "flower"}),
        (5439, EXTRACT),
        (465, {"worker-control"}),
        (587, {"worker-control"}),
        (80, WORKERS | {"api"}),
        (4317, WORKERS | {"beat", "api"}),
        (53, WORKERS | {"beat", "api", "flower", "migrate"}),
    ],
)
def test_a_port_is_reached_by_who_needs_it(port: int, who: set[str]) -> None:
    assert _reaching(port, SETS["everything"]) == who


def test_with_a_folder_as_spool_only_workers_that_extract_or_upload_reach_the_internet() -> None:
    assert _reaching(443, SETS["one folder as spool"]) == EXTRACT | UPLOAD


@pytest.mark.parametrize(
    ("alerts", "who"), [({}, set()), ({"files": "channel-files"}, {"worker-control"})], ids=["no channel", "files"]
)
def test_channels_are_reached_where_there_are_some(alerts: Object, who: set[str]) -> None:
    assert _reaching(465, over(MINIMAL, {"alerts": alerts})) == who


def test_nobody_reaches_a_clouds_metadata_unless_told() -> None:
    for policy, _ in _policies(MINIMAL):
        for rule in policy["spec"].get("egress", []):
            for peer in rule.get("to", []):
                if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0":
                    assert peer["ipBlock"]["except"] == ["169.254.0.0/16"]
    assert _reaching(80, MINIMAL) == set()


def _entrances(values: Mapping[str, Any]) -> dict[tuple[str, int], Any]:
    return {
        (kind, port["port"]): rule["from"]
        for policy, kinds in _policies(values)
        for rule in policy["spec"].get("ingress", [])
        for port in rule["ports"]
        for kind in kinds
    }


def test_nobody_comes_in_unless_told() -> None:
    assert _entrances(MINIMAL) == {}
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "others"}}}]
    assert _entrances(SETS["everything"]) == {("api", 8000): peers, ("api", 9464): peers, ("flower", 5555): peers}


def test_the_api_and_its_metrics_are_services_apart_and_only_the_api_is_published() -> None:
    made = objects(SETS["everything"])
    ports = {
        one["metadata"]["name"]: [port["name"] for port in one["spec"]["ports"]] for one in of_kind("Service", made)
    }
    assert ports["prod-warehouse-sync-api"] == ["http"]
    assert ports["prod-warehouse-sync-metrics"] == ["metrics"]
    (ingress,) = of_kind("Ingress", made)
    assert ingress["spec"]["tls"] == [{"hosts": ["sync.example.com"], "secretName": "the-tls"}]
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"] == {"name": "prod-warehouse-sync-api", "port": {"name": "http"}}
