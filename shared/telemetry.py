"""Log lines: one shape for ours and Celery's, configured once per process.

An event is a fixed name in the past tense with fields in named units. Ids of the work at hand are bound around a task
with :func:`bound`. Neither rows nor secrets are ever fields.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, Literal

import structlog
from structlog.typing import FilteringBoundLogger, Processor

LogFormat = Literal["auto", "json", "columns"]

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure_logs(log_format: LogFormat, *, level: int = logging.INFO) -> None:
    """Send every log line of this process to standard error in one shape; may be called again."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    rendered: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    output = logging.StreamHandler()
    output.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    root = logging.getLogger()
    root.handlers = [output]
    root.setLevel(level)
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def log(name: str) -> FilteringBoundLogger:
    """Give the logger of a module."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Add ids to every line logged inside the block, and in threads that are started :func:`with_ids` there."""
    before = structlog.contextvars.get_contextvars()
    structlog.contextvars.bind_contextvars(**fields)
    try:
        yield
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**before)


def bind(**fields: Any) -> None:
    """Add ids that are only known by now to every further line of the innermost block of :func:`bound`."""
    structlog.contextvars.bind_contextvars(**fields)


def with_ids(work: Callable[[], None]) -> Callable[[], None]:
    """Give the same work with the ids that are bound now: a thread begins without."""
    context = copy_context()
    return lambda: context.run(work)
