"""The rules and the dashboard ask for what there is, once, and lead somewhere."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from shared.messages import Queue
from shared.run import Lane, RunState
from tests.deploy.measured import LABELS, PREFIX, VALUES, Asked, asked

DEPLOY: Final = Path(__file__).resolve().parents[2] / "deploy"
RULES: Final[list[dict[str, Any]]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD: Final[dict[str, Any]] = json.loads((DEPLOY / "grafana" / "warehouse-sync.json").read_text())
ANCHORS: Final = {
    *("metrics-absent", "store-down", "broker-down", "beat-silent", "queue-not-taken", "leases-expiring"),
    *("pipeline-faulted", "run-failed", "watermark-late", "rows-rejected", "sign-in-refused", "not-the-api"),
    *("throttled", "feed-unavailable", "spool-full", "alert-open"),
}
"""The sections of deploy/RUNBOOK.md that rules lead to."""
OF_PROMETHEUS: Final = {"instance", "pod", "job", "namespace"}
FIXED: Final = {
    **VALUES,
    "queue": frozenset(Queue),
    "lane": frozenset(Lane),
    "state": frozenset({*RunState, "draft", "active", "paused", "ticking", "silent"}),
}


def _panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def _expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in _panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


EXPRESSIONS: Final = list(_expressions())
every_expression = pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[name for name, _ in EXPRESSIONS])


def _ours(expression: str) -> list[Asked]:
    return [one for one in asked(expression) if one.metric != "ALERTS"]


@every_expression
def test_every_metric_and_label_is_documented(where: str, expression: str) -> None:
    for one in asked(expression):
        if one.metric == "ALERTS":  # Prometheus' own.
            continue
        name = one.metric.removeprefix(PREFIX)
        assert one.metric == PREFIX + name, where
        assert {label for label, _, _ in one.matchers} <= {*LABELS[name], "job"}, where
    used = {label for one in _ours(expression) for label in LABELS[one.metric.removeprefix(PREFIX)]}
    if "ALERTS" not in expression:
        grouped = re.findall(r"\b(?:by|without) \(([^)]*)\)", expression)
        assert {label.strip() for labels in grouped for label in labels.split(",")} <= used | OF_PROMETHEUS, where


@every_expression
def test_every_value_that_is_asked_for_exists(where: str, expression: str) -> None:
    for one in _ours(expression):
        for label, operator, value in one.matchers:
            if label in FIXED and not value.startswith("$"):
                wanted = re.compile(value if operator.endswith("Re") else re.escape(value))
                assert any(wanted.fullmatch(known) for known in FIXED[label]), (where, label, value)


@every_expression
def test_several_apis_are_several_answers_to_one_question_and_never_a_sum(where: str, expression: str) -> None:
    assert [one.metric for one in _ours(expression) if not one.once] == [], where


@every_expression
def test_one_installation_is_told_from_another(where: str, expression: str) -> None:
    of = '"$job"' if where in {panel["title"] for panel in _panels()} else '"warehouse-sync"'
    assert [
        one.metric
        for one in asked(expression)
        if ("job", of.strip('"')) not in {(label, value) for label, _, value in one.matchers}
    ] == [], where


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_every_rule_says_how_bad_what_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("WarehouseSync")
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, anchor = rule["annotations"]["runbook_url"].split("#")
    assert page == "deploy/RUNBOOK.md"
    assert anchor in ANCHORS
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert named <= {label for one in asked(rule["expr"]) for label in LABELS[one.metric.removeprefix(PREFIX)]}


def test_every_section_that_is_promised_is_led_to() -> None:
    assert {rule["annotations"]["runbook_url"].split("#")[1] for rule in RULES} == ANCHORS


def test_every_rule_has_a_case_that_fires_and_one_that_does_not() -> None:
    cases = (DEPLOY / "prometheus" / "alerts.test.yml").read_text()
    assert [rule["alert"] for rule in RULES if len(re.findall(rf"\b{rule['alert']}\b", cases)) < 2] == []


def test_prometheus_asks_the_port_that_serves_metrics_under_the_name_that_rules_expect() -> None:
    told = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert told["rule_files"] == ["alerts.yml"]
    (scraped,) = told["scrape_configs"]
    assert scraped["job_name"] == "warehouse-sync"
    assert scraped["static_configs"] == [{"targets": ["api:9464"]}]


def test_panels_have_units_words_and_a_place_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    for panel in _panels():
        assert panel["description"].endswith((".", "!", "?")), panel["title"]
        assert panel["type"] == "table" or panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


def test_variables_are_declared_and_used() -> None:
    declared = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert set(declared) == {"datasource", "job", "pipeline", "lane", "quota_group"}
    text = json.dumps(DASHBOARD["panels"])
    assert set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval"} == set(declared)
    for name, variable in declared.items():
        if variable["type"] == "query":
            told = re.fullmatch(r"label_values\((\w+)(?:{.*})?, (\w+)\)", variable["definition"])
            assert told is not None
            metric, label = told.groups()
            assert label == name
            assert label == "job" or label in LABELS[metric.removeprefix(PREFIX)]


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {
        one.metric.removeprefix(PREFIX)
        for panel in _panels()
        for target in panel["targets"]
        for one in asked(target["expr"].replace("$__rate_interval", "5m"))
    }
    assert set(LABELS) - shown == set()


def test_grafana_is_told_of_the_folder_that_holds_the_dashboard() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    (provider,) = yaml.safe_load((folder / "dashboards" / "warehouse-sync.yml").read_text())["providers"]
    assert provider["options"]["path"] == "/etc/grafana/warehouse-sync"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
