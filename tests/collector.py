"""A collector of traces: what it is sent over OTLP/HTTP, decoded; and one in this very process."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared import trace_export, tracing
from shared.trace_export import Export


@dataclass(frozen=True)
class Seen:
    """A span as a collector sees it; attributes without our prefix."""

    trace_id: UUID
    id: bytes
    parent_id: bytes
    name: str
    began_ns: int
    ended_ns: int
    is_error: bool
    attributes: Mapping[str, Any]
    process: Mapping[str, str]


@dataclass
class Collector:
    """Takes spans on a port of 127.0.0.1; ``bodies`` are what came, as it came."""

    port: int = 0
    bodies: list[bytes] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What has a process export to it, soon after each span."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}", "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def spans(self, run_id: UUID) -> list[Seen]:
        return [span for body in list(self.bodies) if run_id.bytes in body for span in _spans_in(body, run_id)]


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def remembering() -> Iterator[InMemorySpanExporter]:
    """Have this process tell its spans to its own memory."""
    exporter = InMemorySpanExporter()
    trace_export.use(Export(SimpleSpanProcessor(exporter), Resource({})))
    try:
        yield exporter
    finally:
        trace_export.use(None)


def assert_one_tree(spans: list[Seen], run_id: UUID) -> Seen:
    """See that the spans are one tree under the run's own root; give that."""
    (root,) = [span for span in spans if not span.parent_id]
    assert root.id == tracing.root_id(run_id).to_bytes(8, "big")  # type: ignore[arg-type]
    ids = [span.id for span in spans]
    assert len(set(ids)) == len(ids), "no span is told twice"
    assert {span.parent_id for span in spans if span is not root} <= set(ids), "every parent is there"
    assert {span.trace_id for span in spans} == {run_id}
    return root


def _spans_in(body: bytes, run_id: UUID) -> Iterator[Seen]:
    request = ExportTraceServiceRequest.FromString(body)
    for of_process in request.resource_spans:
        process = {one.key: one.value.string_value for one in of_process.resource.attributes}
        for scope in of_process.scope_spans:
            for span in scope.spans:
                if span.trace_id == run_id.bytes:
                    yield Seen(
                        UUID(bytes=span.trace_id),
                        span.span_id,
                        span.parent_span_id,
                        span.name,
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        span.status.code == span.status.STATUS_CODE_ERROR,
                        {
                            one.key.removeprefix("warehouse_sync."): getattr(
                                one.value, one.value.WhichOneof("value") or ""
                            )
                            for one in span.attributes
                        },
                        process,
                    )
