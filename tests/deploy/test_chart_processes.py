"""The chart starts, asks and stops every process as the program means it."""

from typing import Any

import click
import pytest
import yaml
from celery.bin.beat import beat
from celery.bin.worker import worker

from shared.broker import build_app
from shared.messages import Queue
from shared.settings import Settings
from tests.deploy.charts import FOLDER, MINIMAL, SETS, component, container, objects, of_kind, over, templates

every_set = pytest.mark.parametrize("name", SETS)


def _queues(command: list[str]) -> list[str]:
    return command[command.index("-Q") + 1].split(",")


@every_set
def test_workers_take_every_queue_once_as_the_program_knows_them(name: str) -> None:
    commands = {kind: container(template)["command"] for kind, template in templates(objects(SETS[name]))}
    workers = {kind: command for kind, command in commands.items() if kind.startswith("worker-")}
    assert sorted(queue for command in workers.values() for queue in _queues(command)) == sorted(Queue)
    for kind, command in workers.items():
        assert command[:4] == ["celery", "-A", "worker.app", "worker"]
        assert command[command.index("-P") + 1] == ("prefork" if "upload" in kind else "threads")
        assert int(command[command.index("-c") + 1]) > 0
        # No heartbeats, no pulse.
        assert "--without-heartbeat" not in command
    assert commands["beat"] == ["celery", "-A", "beat.app", "beat"]


@every_set
def test_celery_knows_every_option_that_it_is_given(name: str) -> None:
    known = {"worker": worker, "beat": beat}
    for kind, template in templates(objects(SETS[name])):
        program, *options = container(template)["command"]
        if program == "celery":
            asked = known[options[2]]
            _, left, _ = asked.make_parser(click.Context(asked)).parse_args(options[3:])
            assert left == [], kind


def test_processes_are_started_as_the_compose_file_starts_them() -> None:
    compose = yaml.safe_load((FOLDER.parents[2] / "docker-compose.yml").read_text())["services"]
    for kind, template in templates(objects(SETS["everything"])):
        if kind not in {"api", "flower"}:  # These listen elsewhere.
            theirs, ours = compose[kind]["command"], container(template)["command"]
            assert _without_size(ours) == _without_size(theirs), kind


def _without_size(command: list[str]) -> list[str]:
    """Give a command's words in an order of their own, without how many tasks run at once."""
    size = command.index("-c") + 1 if "-c" in command else len(command)
    return sorted(command[:size] + command[size + 1 :])


@every_set
def test_workers_have_longer_than_their_soft_shutdown_and_a_request(name: str) -> None:
    soft_s = build_app(Settings(), broker_url="memory://").conf.worker_soft_shutdown_timeout
    settings = over(SETS[name], {"settings": {"request_timeout_s": 44.5}})
    for values, timeout_s in ((SETS[name], Settings.model_fields["request_timeout_s"].default), (settings, 44.5)):
        for kind, template in templates(objects(values)):
            if kind.startswith("worker-"):
                assert template["spec"]["terminationGracePeriodSeconds"] >= soft_s + timeout_s + 10
                environment = {one["name"]: one.get("value") for one in container(template)["env"]}
                assert environment["REMAP_SIGTERM"] == "SIGQUIT"


def test_the_api_has_longer_than_a_question_takes() -> None:
    template = component("api", objects(MINIMAL))
    pause_s = int(container(template)["lifecycle"]["preStop"]["exec"]["command"][1])
    assert template["spec"]["terminationGracePeriodSeconds"] >= pause_s + 30 + 5


def test_an_outage_of_the_broker_restarts_no_worker_for_a_quarter_of_an_hour() -> None:
    for kind, template in templates(objects(MINIMAL)):
        if kind.startswith("worker-") or kind == "beat":
            probes = container(template)
            assert {tuple(probes[f"{which}Probe"]["exec"]["command"]) for which in ("startup", "liveness")} == {
                ("python", "-m", "shared.pulse")
            }
            liveness = probes["livenessProbe"]
            assert 60 + liveness["periodSeconds"] * liveness["failureThreshold"] == 900
            startup = probes["startupProbe"]
            assert startup["periodSeconds"] * startup["failureThreshold"] == 300


def test_no_beat_is_missing_while_beats_are_replaced() -> None:
    (beat,) = (one for one in of_kind("Deployment", objects(MINIMAL)) if one["metadata"]["name"].endswith("-beat"))
    assert beat["spec"]["replicas"] == 2
    assert beat["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_replicas_that_an_autoscaler_sets_are_left_to_it() -> None:
    scaled = {one["metadata"]["name"]: one["spec"] for one in of_kind("Deployment", objects(SETS["everything"]))}
    assert [name for name, spec in scaled.items() if name.count("-worker-") and "replicas" in spec] == []
    left = {
        one["metadata"]["name"]: one["spec"] for one in of_kind("Deployment", objects(SETS["replicas left to others"]))
    }
    without = {name.removeprefix("prod-warehouse-sync-") for name, spec in left.items() if "replicas" not in spec}
    assert without == {"beat", "worker-upload"}


def test_the_longest_pods_names_leave_workers_names_of_their_own() -> None:
    hosts: dict[str, Any] = {}
    for kind, template in templates(objects(MINIMAL)):
        if kind.startswith("worker-"):
            command = container(template)["command"]
            hosts[command[command.index("-n") + 1]] = kind
    assert len(hosts) == 5
    assert all(name.endswith("@%h") for name in hosts)
