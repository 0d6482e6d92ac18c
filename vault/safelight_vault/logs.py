"""Logs: lines on stderr, for people on a terminal and as JSON everywhere else.

The only module that imports ``structlog``. What it guards: stdout belongs to results alone, and no
event carries a path, a file name or any DICOM value of what is backed up.
"""

import logging
import sys
from typing import Literal, Protocol, cast

import structlog

Form = Literal["text", "json"]


class Log(Protocol):
    """What Safelight asks of a logger: an event in words, and values by name."""

    def info(self, event: str, **values: object) -> object:
        """Something happened as it should."""
        ...

    def warning(self, event: str, **values: object) -> object:
        """Something wants to be looked at."""
        ...

    def error(self, event: str, **values: object) -> object:
        """Something failed."""
        ...


def set_up_logs(form: Form, *, verbose: bool = False) -> Log:
    """Set up logging to stderr for the whole process, and give the program's logger."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.DEBUG if verbose else logging.INFO
        ),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    return cast("Log", structlog.get_logger())
