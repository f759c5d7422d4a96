"""Traces are exported where the standard variables say, and a collector that is away costs spans but no time."""

import multiprocessing
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from structlog.testing import capture_logs

from sandbox.ports import free_port
from shared import trace_export
from shared.run import RunId
from shared.trace_export import FLUSH_S, is_asked_for, refusal, telling
from shared.tracing import Span
from tests.collector import Collector, collecting

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
LIMIT_S = 60
SLACK_S = 3.0
"""For a machine that has other things to do."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        trace_export._this.pid = None
        yield found
        trace_export.shut_down()
        trace_export.use(None)


def one_span(run_id: UUID) -> None:
    with Span("plan_run", RunId(run_id)):
        pass


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({ENDPOINT: ""}, False),
        ({ENDPOINT: "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({ENDPOINT: "http://c:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({ENDPOINT: "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_only_the_standard_variables_ask_for_traces(environment: dict[str, str], *, expected: bool) -> None:
    assert is_asked_for(environment) is expected


def test_what_is_asked_for_and_cannot_be_is_said_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {ENDPOINT: "http://c:4318"}
    assert refusal({}) is refusal(asked) is None
    assert "http/protobuf" in (refusal({**asked, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) or "")
    monkeypatch.setattr(trace_export, "_is_installed", lambda: False)
    assert "pip install 'warehouse-sync[otel]'" in (refusal(asked) or "")
    assert refusal({}) is None


def test_without_the_extra_the_work_goes_on_and_a_warning_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setattr(trace_export, "_is_installed", lambda: False)
    trace_export._this.pid = None
    with capture_logs() as lines:
        one_span(uuid4())
        one_span(uuid4())
    trace_export.use(None)
    assert [(line["event"], line["log_level"]) for line in lines] == [("traces_not_exported", "warning")]


def test_who_does_not_ask_imports_nothing_of_it() -> None:
    lines = (
        "import sys, uuid",
        "from shared import trace_export, tracing",
        "trace_export.prepare()",
        "with tracing.Span('plan_run', uuid.uuid4()): pass",
        "assert not tracing.is_on()",
        "found = [name for name in sys.modules if name.startswith('opentelemetry')]",
        "assert not found, found",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], env={}, check=True, timeout=60)


def test_a_collector_sees_the_span_and_who_told_it(collector: Collector) -> None:
    run_id = uuid4()
    one_span(run_id)
    trace_export.shut_down()
    (span,) = collector.spans(run_id)
    assert (span.name, span.attributes) == ("plan_run", {"run_id": str(run_id)})
    assert span.process["service.name"] == "warehouse-sync"
    assert span.process["service.instance.id"].startswith(socket.gethostname())


def test_the_service_has_the_name_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "sync-eu")
    assert trace_export.this_process().attributes["service.name"] == "sync-eu"


def in_a_child(run_id: UUID) -> None:
    one_span(run_id)
    trace_export.shut_down()


def test_a_forked_child_exports_as_itself_though_its_parent_did_before(collector: Collector) -> None:
    of_parent, of_child = uuid4(), uuid4()
    one_span(of_parent)
    child = multiprocessing.get_context("fork").Process(target=in_a_child, args=(of_child,))
    child.start()
    child.join(LIMIT_S)
    assert child.exitcode == 0
    trace_export.shut_down()
    told = [*collector.spans(of_parent), *collector.spans(of_child)]
    assert len({span.process["service.instance.id"] for span in told}) == len(told) == 2


@pytest.mark.parametrize("is_silent", [False, True], ids=["refuses", "hangs"])
def test_a_dead_collector_delays_neither_the_work_nor_the_end(
    monkeypatch: pytest.MonkeyPatch, *, is_silent: bool
) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen() if is_silent else None
        port = server.getsockname()[1] if is_silent else free_port()
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "512")
        trace_export._this.pid = None
        one_span(uuid4())
        began = time.monotonic()
        for _ in range(2000):
            one_span(uuid4())
        assert time.monotonic() - began < SLACK_S, "four times what the queue holds"
        began = time.monotonic()
        trace_export.shut_down()
        assert time.monotonic() - began < FLUSH_S + SLACK_S
    trace_export.use(None)
    # Who still waits for an answer learns now that there is none, and says so: here, and not in another test.
    for thread in threading.enumerate():
        if thread.name.startswith("OtelBatch"):
            thread.join(LIMIT_S)
            assert not thread.is_alive()


def test_a_variable_that_makes_no_sense_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "5")
    trace_export._this.pid = None
    with capture_logs() as lines:
        one_span(uuid4())
    trace_export.use(None)
    assert [(line["event"], line["log_level"]) for line in lines] == [("traces_not_exported", "warning")]


def test_it_is_logged_once_when_the_collector_goes_and_once_when_it_is_back() -> None:
    answers = iter([SpanExportResult.FAILURE, SpanExportResult.FAILURE, *[SpanExportResult.SUCCESS] * 2])

    class Fickle(SpanExporter):
        def export(self, _: object) -> SpanExportResult:
            return next(answers)

    exporter = telling(Fickle())
    span = ReadableSpan("plan_run")
    with capture_logs() as lines:
        for _ in range(4):
            exporter.export([span, span])
    assert [line["event"] for line in lines] == ["traces_not_exported", "traces_exported_again"]
    assert lines[1]["lost"] == 4
