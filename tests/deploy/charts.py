"""The chart, rendered by Helm's own engine for the sets of values that operators have."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from helm_python import Chart

FOLDER: Final = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "warehouse-sync"
NAMESPACE: Final = "sync"

Object = dict[str, Any]
"""One of Kubernetes' objects, as in its manifest."""

MINIMAL: Final[Object] = {
    "image": {"repository": "registry.example.com/warehouse-sync"},
    "database": {"existingSecret": "the-database"},
    "broker": {"existingSecret": "the-broker"},
    "spool": {"url": "s3://bucket/prefix"},
}
_PEERS: Final = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "others"}}}]
_SECRETS: Final[Object] = {
    "publicKey": "wsync-public-abc",
    "privateKeys": {"existingSecret": "the-keys"},
    "warehouses": {
        "env": [{"name": "WAREHOUSE_SYNC_SECRET_LAKE", "secretName": "a-warehouse", "key": "lake"}],
        "files": "warehouse-files",
    },
    "feeds": {
        "env": [{"name": "WAREHOUSE_SYNC_SECRET_FEED", "secretName": "a-feed", "key": "feed"}],
        "files": "feed-files",
    },
}
_EVERYTHING: Final[Object] = {
    "secrets": _SECRETS,
    "spool": {
        "secretEnv": [{"name": "AWS_ACCESS_KEY_ID", "secretName": "the-bucket", "key": "id"}],
        "secretFiles": "bucket-files",
    },
    "alerts": {
        "env": [{"name": "WAREHOUSE_SYNC_ALERT_SLACK_URL", "secretName": "the-channel", "key": "url"}],
        "files": "channel-files",
    },
    "migrate": {"database": {"existingSecret": "the-owner"}},
    "caBundle": {"existingConfigMap": "authorities", "forEverything": True},
    "settings": {"spool_soft_bytes": 21474836480, "feed_hosts": ["one.example.com", "two.example.com"]},
    "pod": {
        "annotations": {"example.com/team": "data"},
        "labels": {"example.com/team": "data"},
        "priorityClassName": "steady",
        "nodeSelector": {"pool": "sync"},
        "tolerations": [{"key": "sync", "operator": "Exists"}],
    },
    "api": {"forwardedAllowIps": "*"},
    "flower": {"enabled": True, "auth": {"existingSecret": "who-may-use-flower"}},
    "ingress": {"enabled": True, "className": "nginx", "host": "sync.example.com", "tls": {"secretName": "the-tls"}},
    "networkPolicy": {
        "api": {"from": _PEERS},
        "metrics": {"from": _PEERS},
        "flower": {"from": _PEERS},
        "metadata": {"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}]},
        "traces": {"to": _PEERS},
    },
    "metrics": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "rules": {"enabled": True, "runbookUrl": "https://example.com/runbook"},
        "dashboard": {"enabled": True},
    },
    "autoscaling": {"enabled": True, "prometheus": {"serverAddress": "http://prometheus.monitoring:9090"}},
    "workers": {"control": {"autoscaling": {"enabled": True}}},
}


def over(base: Mapping[str, Any], other: Mapping[str, Any]) -> Object:
    """Give some values with others laid over them, as several value files are."""
    both = dict(base)
    for name, value in other.items():
        both[name] = over(both.get(name, {}), value) if isinstance(value, Mapping) else value
    return both


SETS: Final[Mapping[str, Object]] = {
    "minimal": MINIMAL,
    "everything": over(MINIMAL, _EVERYTHING),
    "scaled without Prometheus": over(MINIMAL, {"autoscaling": {"enabled": True, "source": "api"}}),
    "one folder as spool": over(MINIMAL, {"spool": {"url": "", "existingClaim": "a-shared-folder"}}),
    "feeds in upload workers only": over(MINIMAL, {"secrets": over(_SECRETS, {"feeds": {"inWorkerExtract": False}})}),
    "nothing that can be left out": over(
        MINIMAL,
        {
            "migrate": {"enabled": False},
            "api": {"enabled": False},
            "networkPolicy": {"enabled": False},
            "podDisruptionBudgets": {"enabled": False},
            "pod": {"topologySpread": False},
            "serviceAccounts": {name: {"create": False} for name in ("workers", "api", "rest")},
        },
    ),
    "flower without a disk": over(
        MINIMAL,
        {"flower": {"enabled": True, "auth": {"existingSecret": "it"}, "persistence": {"enabled": False}}},
    ),
    "replicas left to others": over(MINIMAL, {"workers": {"upload": {"replicas": None}}, "beat": {"replicas": None}}),
}


@cache
def chart() -> Chart:
    """Load the chart."""
    return Chart.load(FOLDER)


def render(values: Mapping[str, Any], *, release: str = "prod") -> Mapping[str, str]:
    """Give each template's text."""
    return chart().render(values=dict(values), name=release, namespace=NAMESPACE)


def objects(values: Mapping[str, Any], *, release: str = "prod") -> tuple[Object, ...]:
    """Give every object that Helm would create, hooks too; nobody may change them."""
    return _objects(json.dumps(values), release)


@cache
def _objects(values: str, release: str) -> tuple[Object, ...]:
    texts = render(json.loads(values), release=release)
    manifests = [text for name, text in texts.items() if name.endswith(".yaml")]
    # libyaml's, where there is one: these are thousands of lines.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return tuple(found for text in manifests for found in yaml.load_all(text, loader) if found is not None)


def of_kind(kind: str, made: Iterable[Object]) -> list[Object]:
    """Give the objects of a kind."""
    return [one for one in made if one["kind"] == kind]


def templates(made: Iterable[Object]) -> Iterator[tuple[str, Object]]:
    """Give each component's name and its pods' template."""
    for one in made:
        if one["kind"] in {"Deployment", "StatefulSet", "Job"}:
            template = one["spec"]["template"]
            yield template["metadata"]["labels"]["app.kubernetes.io/component"], template


def component(name: str, made: Iterable[Object]) -> Object:
    """Give the pod template of a component."""
    return dict(templates(made))[name]


def container(template: Object) -> Object:
    """Give the one container of a pod."""
    (only,) = template["spec"]["containers"]
    assert "initContainers" not in template["spec"]
    return dict(only)


def secrets_of(template: Object) -> set[str]:
    """Give the names of all Secrets that a pod gets, as variables or as files."""
    text = yaml.safe_dump(template)
    variables = {
        variable["valueFrom"]["secretKeyRef"]["name"]
        for variable in container(template)["env"]
        if "secretKeyRef" in variable.get("valueFrom", {})
    }
    files = {volume["secret"]["secretName"] for volume in template["spec"]["volumes"] if "secret" in volume}
    # Nothing gets one in another way: every mention is one of these.
    assert len(re.findall(r"secretKeyRef:|secretName:", text)) == sum(
        1 for variable in container(template)["env"] if "valueFrom" in variable
    ) + sum(1 for volume in template["spec"]["volumes"] if "secret" in volume)
    assert not re.search(r"envFrom:|projected:", text)
    return variables | files


def selects(labels: Mapping[str, str], selector: Mapping[str, Any]) -> bool:
    """Say whether a label selector selects what has these labels."""
    told = all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())
    return told and all(
        expression["operator"] == "In" and labels.get(expression["key"]) in expression["values"]
        for expression in selector.get("matchExpressions", [])
    )
