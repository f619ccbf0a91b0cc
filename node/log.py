"""Structured logging: each line has a time in UTC and one `action`, and no identity.

Call sites pass `extra=event("stored", case=12, ...)`; the values must not hold a name, a patient
ID, an accession number or a birth date.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from node.visible import visible


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
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
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
        said = visible(f"{record.getMessage()}  {values}".rstrip())
        lines = [f"{time} {record.levelname:7} {said}"]
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            lines += [f"    {visible(line)}" for line in trace.split("\n")]
        return "\n".join(lines)


def configure(level: str, *, as_json: bool) -> None:
    """Send the log to standard error: the node's from `level` up, libraries' from WARNING up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)  # else they go to the terminal as they are
    logging.getLogger("node").setLevel(level.upper())
