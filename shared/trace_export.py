"""Where traces go: to a collector that speaks OTLP over HTTP, where the standard variables name one.

Nothing of OpenTelemetry is imported unless ``OTEL_EXPORTER_OTLP_ENDPOINT`` or ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` is
set; it comes with the extra ``otel``. Spans wait in a bounded queue for a thread that sends them, so that a collector
which is slow or down costs spans and never time; what still waits when the process ends is sent within ``FLUSH_S``.
"""

import atexit
import importlib.util
import logging
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from shared.telemetry import log

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

FLUSH_S: Final = 2.0
"""How long a process that ends may go on sending spans; the command line waits that long for a collector that hangs."""
SERVICE: Final = "warehouse-sync"

_log = log(__name__)
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL: Final = "http/protobuf"
_NO_NAME: Final = "unknown_service"

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Ended:
    """One span that has ended; the instants are nanoseconds since 1970. Without a parent it is its trace's root."""

    trace_id: int
    span_id: int
    parent_id: int | None
    name: str
    began_ns: int
    ended_ns: int
    attributes: Mapping[str, Value]
    is_error: bool = False


class Export:
    """Takes spans that have ended, for a processor of OpenTelemetry's."""

    def __init__(self, processor: "SpanProcessor", resource: "Resource") -> None:
        """Prepare; ``resource`` says what this process is."""
        self._processor = processor
        self._resource = resource
        self._version = version(SERVICE)  # Reads files: not for every span.

    def take(self, ended: Ended) -> None:
        """Queue a span to be sent; where the queue is full, one is lost."""
        self._processor.on_end(_readable(ended, self._resource, self._version))

    def shut_down(self) -> None:
        """Send what waits, within ``FLUSH_S``, and nothing from then on."""
        self._processor.shutdown()


def refusal(environment: Mapping[str, str]) -> str | None:
    """Say why traces that are asked for cannot be exported, or ``None`` where they can or nobody asks for them."""
    if not is_asked_for(environment):
        return None
    spoken = next((environment[name] for name in _PROTOCOLS if environment.get(name)), _PROTOCOL)
    if spoken != _PROTOCOL:
        return f"only OTLP over {_PROTOCOL} is spoken; set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL={_PROTOCOL}"
    if not _is_installed():
        return "OpenTelemetry is not installed: pip install 'warehouse-sync[otel]', or set OTEL_SDK_DISABLED=true"
    return None


def is_asked_for(environment: Mapping[str, str]) -> bool:
    """Whether the environment names a collector, and does not switch traces off."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return False
    return any(environment.get(name) for name in _ENDPOINTS)


def export() -> Export | None:
    """Give this process's export, made at first use and anew after a fork; ``None`` where there is none.

    Whatever keeps it from being made is logged once, and the work goes on without traces.
    """
    if _this.pid != os.getpid():
        with _making:
            if _this.pid != os.getpid():
                _this.export = _made()
                _this.pid = os.getpid()
    return _this.export


def use(chosen: Export | None) -> None:
    """Let this process export there, whatever its environment says; a test's way in."""
    _this.export, _this.pid = chosen, os.getpid()


def prepare() -> None:
    """Import what exporting takes, so that no first task pays for it; or log why traces will be missing.

    Starts nothing, so that a process which forks may do it before.
    """
    if why_not := refusal(os.environ):
        _log.warning("traces_not_exported", reason=why_not)
    elif is_asked_for(os.environ):
        import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: PLC0415 - an extra
        import opentelemetry.sdk.trace.export  # noqa: F401, PLC0415 - an extra


def shut_down() -> None:
    """Send what waits and end the export of this process, if it has one; once a process is about to end."""
    if _this.pid == os.getpid() and _this.export is not None:
        _this.export.shut_down()


class _This:
    """What this process exports to; ``pid`` is of the process that found out."""

    export: Export | None = None
    pid: int | None = None


_this = _This()
_making = threading.Lock()


def _made() -> Export | None:
    if not is_asked_for(os.environ):
        return None
    why_not = refusal(os.environ)
    if why_not is None:
        try:
            made = _over_http()
        except ValueError as error:  # One of the standard variables is not what it should be.
            why_not = str(error)
        else:
            atexit.register(shut_down)
            return made
    _log.warning("traces_not_exported", reason=why_not)
    return None


def _over_http() -> Export:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - an extra

    class Bounded(BatchSpanProcessor):
        """Ends within ``FLUSH_S``; the SDK's own would wait for half a minute."""

        def shutdown(self) -> None:
            self._batch_processor.shutdown(timeout_millis=int(FLUSH_S * 1000))

    # Of each failed attempt it says a line; ours says one when the collector goes, and one when it is back.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    return Export(Bounded(telling(OTLPSpanExporter())), this_process())


def telling(exporter: "SpanExporter") -> "SpanExporter":
    """Give an exporter that logs when the collector stops taking spans, and when it takes them again."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult  # noqa: PLC0415 - an extra

    class Telling(SpanExporter):
        def __init__(self) -> None:
            self._lost = 0

        def export(self, spans: "Sequence[ReadableSpan]") -> "SpanExportResult":
            result = exporter.export(spans)
            if result is not SpanExportResult.SUCCESS:
                if not self._lost:
                    _log.warning("traces_not_exported", reason="the collector does not take them; they are lost")
                self._lost += len(spans)
            elif self._lost:
                _log.info("traces_exported_again", lost=self._lost)
                self._lost = 0
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

    return Telling()


def this_process() -> "Resource":
    """Say what this process is, as the standard variables name it."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra

    found = Resource.create(
        {"service.version": version(SERVICE), "service.instance.id": f"{socket.gethostname()}:{os.getpid()}"}
    )
    if str(found.attributes.get("service.name", _NO_NAME)).startswith(_NO_NAME):
        return found.merge(Resource({"service.name": SERVICE}))
    return found


def _readable(ended: Ended, resource: "Resource", own_version: str) -> "ReadableSpan":
    """Give a span as OpenTelemetry has it: made whole, because its ids follow from its run."""
    from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415 - an extra
    from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags  # noqa: PLC0415 - an extra

    def context(span_id: int) -> SpanContext:
        return SpanContext(ended.trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    return ReadableSpan(
        name=ended.name,
        context=context(ended.span_id),
        parent=None if ended.parent_id is None else context(ended.parent_id),
        resource=resource,
        attributes=ended.attributes,
        status=Status(StatusCode.ERROR if ended.is_error else StatusCode.UNSET),
        start_time=ended.began_ns,
        end_time=ended.ended_ns,
        instrumentation_scope=InstrumentationScope(SERVICE, own_version),
    )


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter") is not None
    except ModuleNotFoundError:
        return False
