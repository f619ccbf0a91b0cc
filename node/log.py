"""Structured logging: each line has a time in UTC and one `action`, and no identity.

Call sites pass `extra=event("stored", case=12, ...)`; the values must not hold a name, a patient
ID, an accession number or a birth date. What libraries say quotes what they were given: of their
warnings and errors the log has the kind and the place, and no words.
"""

import json
import logging
import sys
import threading
import traceback
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from node.errors import BadObject, IchnodeError
from node.visible import visible

logger = logging.getLogger(__name__)

OPEN = frozenset({"node", "models", "training", "uvicorn", "apscheduler"})
"""Loggers whose words are shown: they do not quote what a peer sent."""
OURS = (IchnodeError, OSError)
"""Errors whose words are shown: of the node, and of the operating system."""
WITHHELD = "its words are withheld, they may name a patient"


def event(action: str, **values: object) -> dict[str, dict[str, object]]:
    """Return the `extra` of a log call: what was done, and the values that describe it."""
    return {"event": {"action": action, **values}}


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            **getattr(record, "event", {}),
            "message": _said(record),
        }
        if record.exc_info and record.exc_info[1]:
            line["exception"] = "\n".join(traceback_of(record.exc_info[1]))
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """A line for people: time, level, message, then the event's values.

    Nothing in it can end the line or reach the terminal as a control sequence. A traceback follows
    indented, so that no line of it can pass for a line of the log.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of text."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%d %H:%M:%S")
        values = " ".join(f"{k}={v}" for k, v in getattr(record, "event", {}).items())
        said = visible(f"{_said(record)}  {values}".rstrip())
        lines = [f"{time} {record.levelname:7} {said}"]
        if record.exc_info and record.exc_info[1]:
            lines += [f"    {visible(line)}" for line in traceback_of(record.exc_info[1])]
        return "\n".join(lines)


def traceback_of(error: BaseException) -> list[str]:
    """Return where an error came from, with its causes; the words of our own errors alone."""
    lines = []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        lines += [*traceback_of(cause), "and then:"]
    for inner in getattr(error, "exceptions", ()):  # of a group
        lines += [*traceback_of(inner), "in a group:"]
    lines.append("Traceback (most recent call last):")
    for frame in traceback.format_tb(error.__traceback__):
        lines += frame.rstrip().split("\n")
    ours = isinstance(error, OURS) and not isinstance(error, BadObject)  # which quotes objects
    words = str(error) if ours else WITHHELD
    return [*lines, *f"{type(error).__qualname__}: {words}".split("\n")]


def _said(record: logging.LogRecord) -> str:
    """Return a record's message; of a library that reads what was sent only where it spoke."""
    if record.name.partition(".")[0] in OPEN:
        return record.getMessage()
    return f"{record.name} at {Path(record.pathname).name}:{record.lineno}: {WITHHELD}"


def configure(level: str, *, as_json: bool) -> None:
    """Send the log to standard error: the node's from `level` up, libraries' from WARNING up.

    So do warnings, and errors that nothing caught.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("node").setLevel(level.upper())
    warnings.showwarning = _warned
    sys.excepthook = _uncaught
    threading.excepthook = lambda hook: _uncaught(hook.exc_type, hook.exc_value, None)


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    del message, file, line
    where = f"{Path(filename).name}:{lineno}"
    logger.warning("%s at %s: %s", category.__name__, where, WITHHELD, extra=event("warning"))


def _uncaught(kind: type[BaseException], error: BaseException | None, _: object) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    logger.critical("nothing caught this", exc_info=error, extra=event("uncaught"))
