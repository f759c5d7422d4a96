"""Objects of KEDA's and of Prometheus' operator: only the fields that the chart uses, as their definitions say.

Their schemas do not come with Kubernetes', so this is all that is checked of them without a cluster: that no field is
written that this page does not know, and that those it knows have the type and the range that were published.
Sources: keda.sh/v1alpha1 ScaledObject and the triggers `prometheus` and `metrics-api` (KEDA 2.17, reference and
source), monitoring.coreos.com/v1 ServiceMonitor and PrometheusRule (operator 0.84).
"""

import json
from typing import Any, Final

import jsonschema
import pytest
import yaml

from shared.messages import Queue
from tests.deploy.charts import MINIMAL, SETS, Object, component, container, objects, of_kind, over
from tests.deploy.measured import LABELS, PREFIX, asked

_DURATION: Final = {"type": "string", "pattern": r"^(0|([0-9]+)(ms|s|m|h|d))+$"}
_TEXTS: Final = {"type": "object", "additionalProperties": {"type": "string"}}


def _exactly(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": required}


def _whole(lowest: int, highest: int = 2**31 - 1) -> dict[str, Any]:
    return {"type": "integer", "minimum": lowest, "maximum": highest}


_SCALING: Final = _exactly(
    {
        "stabilizationWindowSeconds": _whole(0, 3600),
        "policies": {
            "type": "array",
            "minItems": 1,
            "items": _exactly(
                {"type": {"enum": ["Pods", "Percent"]}, "value": _whole(1), "periodSeconds": _whole(1, 1800)}
            ),
        },
    }
)
_NUMBER: Final = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"}
_TRIGGERS: Final = {
    "prometheus": _exactly(
        {
            "serverAddress": {"type": "string", "pattern": "^https?://"},
            "query": {"type": "string"},
            "threshold": _NUMBER,
        }
    ),
    "metrics-api": _exactly(
        {
            "url": {"type": "string", "pattern": "^http://.+/metrics$"},
            "format": {"const": "prometheus"},
            "valueLocation": {"type": "string"},
            "targetValue": _NUMBER,
        }
    ),
}
_SPECS: Final = {
    "ScaledObject": _exactly(
        {
            "scaleTargetRef": _exactly({"name": {"type": "string"}}),
            "minReplicaCount": _whole(0),
            "maxReplicaCount": _whole(1),
            "pollingInterval": _whole(1),
            "cooldownPeriod": _whole(0),
            "fallback": _exactly({"failureThreshold": _whole(1), "replicas": _whole(0)}),
            "advanced": _exactly(
                {
                    "restoreToOriginalReplicaCount": {"type": "boolean"},
                    "horizontalPodAutoscalerConfig": _exactly(
                        {"behavior": _exactly({"scaleUp": _SCALING, "scaleDown": _SCALING})}
                    ),
                }
            ),
            "triggers": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "oneOf": [
                        _exactly(
                            {"type": {"const": kind}, "metricType": {"const": "AverageValue"}, "metadata": metadata}
                        )
                        for kind, metadata in _TRIGGERS.items()
                    ]
                },
            },
        }
    ),
    "ServiceMonitor": _exactly(
        {
            "selector": _exactly({"matchLabels": _TEXTS}),
            "namespaceSelector": _exactly({"matchNames": {"type": "array", "items": {"type": "string"}}}),
            "endpoints": {
                "type": "array",
                "minItems": 1,
                "items": _exactly(
                    {
                        "port": {"type": "string"},
                        "path": {"type": "string"},
                        "interval": _DURATION,
                        "scrapeTimeout": _DURATION,
                        "relabelings": {
                            "type": "array",
                            "items": _exactly(
                                {
                                    "action": {"const": "replace"},
                                    "targetLabel": {"type": "string"},
                                    "replacement": {"type": "string"},
                                }
                            ),
                        },
                    }
                ),
            },
        }
    ),
    "PrometheusRule": _exactly(
        {
            "groups": {
                "type": "array",
                "items": _exactly(
                    {
                        "name": {"type": "string", "minLength": 1},
                        "rules": {
                            "type": "array",
                            "items": _exactly(
                                {
                                    "alert": {"type": "string"},
                                    "expr": {"type": "string"},
                                    "for": _DURATION,
                                    "labels": _TEXTS,
                                    "annotations": _TEXTS,
                                },
                                "for",
                            ),
                        },
                    }
                ),
            }
        }
    ),
}
_VERSIONS: Final = {
    "ScaledObject": "keda.sh/v1alpha1",
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
}


@pytest.mark.parametrize("name", SETS)
def test_objects_of_others_hold_what_their_definitions_know(name: str) -> None:
    for one in objects(SETS[name]):
        if one["kind"] in _SPECS:
            assert one["apiVersion"] == _VERSIONS[one["kind"]]
            assert set(one) == {"apiVersion", "kind", "metadata", "spec"}
            jsonschema.validate(one["spec"], _SPECS[one["kind"]])


def _scaled(values: Object) -> dict[str, Object]:
    return {
        one["metadata"]["labels"]["app.kubernetes.io/component"]: one["spec"]
        for one in of_kind("ScaledObject", objects(values))
    }


@pytest.mark.parametrize("name", ["everything", "scaled without Prometheus"])
def test_every_kind_of_worker_scales_with_its_own_queues(name: str) -> None:
    made = objects(SETS[name])
    deployments = {one["metadata"]["name"] for one in of_kind("Deployment", made)}
    seen: set[str] = set()
    for kind, spec in _scaled(SETS[name]).items():
        assert spec["scaleTargetRef"]["name"] in deployments
        command = container(component(kind, made))["command"]
        queues = set(command[command.index("-Q") + 1].split(","))
        told: dict[str, set[str]] = {}
        for trigger in spec["triggers"]:
            expression = trigger["metadata"].get("query") or trigger["metadata"]["valueLocation"]
            (series,) = asked(expression)
            labels = {label: value for label, _, value in series.matchers}
            metric = series.metric.removeprefix(PREFIX)
            assert set(labels) - {"job"} == set(LABELS[metric])  # One series: `metrics-api` takes no more.
            told.setdefault(metric, set()).add(labels.get("queue", ""))
            assert (name == "everything") == ("job" in labels) == series.once
        assert told["queue_messages"] == told["queue_oldest_message_age_seconds"] == queues
        assert ("runs" in told) == ("extract" in kind)
        seen |= queues
    assert seen >= set(Queue) - {Queue.CONTROL}


def test_what_reads_for_hours_is_not_stopped_by_a_short_lull() -> None:
    for kind, spec in _scaled(SETS["everything"]).items():
        down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        assert down["stabilizationWindowSeconds"] >= (3600 if "extract" in kind else 300)
        assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]


def test_only_history_may_have_no_worker_at_all() -> None:
    lowest = {kind: spec["minReplicaCount"] for kind, spec in _scaled(SETS["everything"]).items()}
    assert {kind for kind, count in lowest.items() if count == 0} == {
        "worker-backfill-extract",
        "worker-backfill-upload",
    }


def test_work_goes_on_while_nobody_answers_what_waits() -> None:
    assert all(spec["fallback"]["replicas"] >= 1 for spec in _scaled(SETS["scaled without Prometheus"]).values())


def test_without_prometheus_the_metrics_service_is_asked() -> None:
    made = objects(SETS["scaled without Prometheus"])
    (service,) = (one for one in of_kind("Service", made) if one["metadata"]["name"].endswith("-metrics"))
    urls = {
        trigger["metadata"]["url"]
        for spec in _scaled(SETS["scaled without Prometheus"]).values()
        for trigger in spec["triggers"]
    }
    (port,) = (one["port"] for one in service["spec"]["ports"])
    assert urls == {f"http://{service['metadata']['name']}.sync.svc:{port}/metrics"}


def test_rules_scrapes_and_scaling_agree_on_the_installations_name() -> None:
    made = objects(SETS["everything"])
    (monitor,) = of_kind("ServiceMonitor", made)
    (service,) = (one for one in of_kind("Service", made) if one["metadata"]["name"].endswith("-metrics"))
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (relabeling,) = monitor["spec"]["endpoints"][0]["relabelings"]
    assert relabeling == {"action": "replace", "targetLabel": "job", "replacement": "sync/prod-warehouse-sync"}
    (rules,) = of_kind("PrometheusRule", made)
    text = json.dumps(rules["spec"])
    assert text.count("sync/prod-warehouse-sync") >= 18
    assert 'job=\\"warehouse-sync\\"' not in text
    assert "deploy/RUNBOOK.md" not in text
    assert all(
        rule["annotations"]["runbook_url"].startswith("https://example.com/runbook#")
        for group in rules["spec"]["groups"]
        for rule in group["rules"]
    )
    queries = [
        trigger["metadata"]["query"] for spec in _scaled(SETS["everything"]).values() for trigger in spec["triggers"]
    ]
    assert all('job="sync/prod-warehouse-sync"' in query for query in queries)


def test_the_dashboard_arrives_whole() -> None:
    (held,) = of_kind("ConfigMap", objects(SETS["everything"]))
    assert held["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(held["data"]["warehouse-sync.json"])["uid"] == "warehouse-sync"
    assert len(yaml.safe_dump(held)) < 1_000_000  # Kubernetes' limit of a ConfigMap is 1 MiB.


def test_more_of_kedas_own_fields_reach_its_trigger() -> None:
    told = {"metadata": {"authModes": "bearer"}, "authenticationRef": "who"}
    values = over(MINIMAL, {"autoscaling": {"enabled": True, "prometheus": {"serverAddress": "https://p", **told}}})
    for spec in _scaled(values).values():
        for trigger in spec["triggers"]:
            assert trigger["metadata"]["authModes"] == "bearer"
            assert trigger["authenticationRef"] == {"name": "who"}
