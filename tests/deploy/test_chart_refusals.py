"""Values that cannot work are refused before anything is created, with words that help."""

import re
from typing import Any

import pytest
from helm_python import HelmError

from tests.deploy.charts import MINIMAL, over, render


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"image": {"repository": ""}}, r"/image/repository.*minLength"),
        ({"database": {"existingSecret": ""}}, r"/database/existingSecret.*minLength"),
        (
            {"database": {"url": "postgresql://me:secret@host/db"}},
            r"/database.*additional properties 'url' not allowed",
        ),
        ({"workers": {"uplaod": {"replicas": 3}}}, r"/workers.*additional properties 'uplaod' not allowed"),
        ({"workers": {"upload": {"replicas": "3"}}}, r"/workers/upload/replicas.*got string, want integer"),
        ({"workers": {"upload": {"concurrency": 0}}}, r"/workers/upload/concurrency.*minimum"),
        (
            {"workers": {"upload": {"resources": {"limits": {"memory": "1 GB"}}}}},
            r"/workers/upload/resources/limits/memory",
        ),
        ({"settings": {"chunk_max_row": 5}}, r"/settings.*chunk_max_row"),
        ({"settings": {"database_url": "postgresql://x"}}, r"/settings.*database_url"),
        ({"settings": {"alert_slack_url": "https://hooks"}}, r"/settings.*alert_slack_url"),
        ({"spool": {"url": "file:///here"}}, r"/spool/url.*does not match pattern"),
        ({"secrets": {"privateKeys": {"key": ""}}}, r"/secrets/privateKeys/key.*minLength"),
        ({"alerts": {"env": [{"name": "SLACK", "secretName": "a", "key": "b"}]}}, r"/alerts/env/0/name.*pattern"),
        ({"alerts": {"env": [{"name": "WAREHOUSE_SYNC_ALERT_X", "value": "a"}]}}, r"/alerts/env/0"),
        ({"autoscaling": {"source": "sqs"}}, r"/autoscaling/source"),
        ({"image": {"digest": "latest"}}, r"/image/digest.*pattern"),
        ({"networkPolicy": {"api": {"from": ["10.0.0.0/8"]}}}, r"/networkPolicy/api/from/0.*want object"),
        ({"spool": {"existingClaim": "claim"}}, r"give spool.url .* or spool.existingClaim .* and not both"),
        ({"spool": {"url": ""}}, r"give spool.url .* or spool.existingClaim"),
        ({"flower": {"enabled": True}}, r"flower.enabled needs flower.auth.existingSecret"),
        ({"ingress": {"enabled": True, "host": "h"}}, r"ingress.enabled needs ingress.host and ingress.tls.secretName"),
        ({"autoscaling": {"enabled": True}}, r"needs autoscaling.prometheus.serverAddress"),
        ({"metrics": {"enabled": False, "serviceMonitor": {"enabled": True}}}, r"enable api and metrics"),
        ({"workers": {"upload": {"autoscaling": {"minReplicas": 9}}}}, r"minReplicas 9 is more than maxReplicas 6"),
        ({"caBundle": {"existingSecret": "a", "existingConfigMap": "b"}}, r"and not both"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmError) as refused:
        render(over(MINIMAL, values))
    assert re.search(said, str(refused.value)), str(refused.value)


@pytest.mark.parametrize("missing", MINIMAL)
def test_what_must_be_given_is_asked_for(missing: str) -> None:
    with pytest.raises(HelmError, match=missing):
        render({name: value for name, value in MINIMAL.items() if name != missing})
