"""Structured logs: one JSON object a line on standard error, with the job's id where there is one.

What could let somebody in (keys, signatures, query strings, addresses of callbacks) is never
handed to a logger.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, cast

import structlog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


def configure_logs(*, pretty: bool = False, least: int = logging.INFO) -> None:
    """Set the process's logging up; `pretty` for a person at a terminal, nothing below `least`."""
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        # Standard error as it is at the time: whoever replaces it may close it afterwards.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def get_logger(part: str) -> FilteringBoundLogger:
    """A logger that names its part of the service."""
    return cast("FilteringBoundLogger", structlog.get_logger(part=part))
