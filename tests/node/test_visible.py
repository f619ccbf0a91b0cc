"""Text from outside is shown as it is, and can do nothing to the terminal."""

import json
import logging
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.log import JsonFormatter, TextFormatter, event
from node.visible import visible


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"])))
def test_text_without_controls_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@given(st.text(st.characters(exclude_categories=[])))
def test_nothing_shown_controls_a_terminal_and_nothing_is_lost(text: str) -> None:
    shown = visible(text)
    assert len(shown) == len(text)
    assert {unicodedata.category(one) for one in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"} == set()
    shown.encode()


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("A\x1b[2JB", "A␛[2JB"),
        ("A\r\nB", "A␍␊B"),
        ("A\x9b31mB", "A�31mB"),
        ("A\u202e12\u2066B", "A�12�B"),
        ("A\u2028B", "A�B"),
        ("A\u200bB", "A�B"),
        ("A\udcffB", "A�B"),
        ("a b　c", "a b　c"),
    ],
)
def test_each_kind_of_control_gets_a_sign(sent: str, shown: str) -> None:
    assert visible(sent) == shown


def record(message: str, *values: object, **told: object) -> logging.LogRecord:
    made = logging.LogRecord("node.x", logging.WARNING, "x.py", 1, message, values, None)
    made.event = event("rejected", **told)["event"]
    return made


def test_a_line_of_the_text_log_stays_one_line_whatever_a_peer_sent() -> None:
    line = TextFormatter().format(
        record(
            "quarantined: %s", "no\n08:30:00 INFO    all is well\x1b[1A", caller="CT\r\x1b]0;x\a"
        )
    )
    assert "\n" not in line and "\r" not in line and "\x1b" not in line and "\a" not in line
    assert "no␊08:30:00 INFO" in line and "caller=CT␍␛]0;x␇" in line


def test_a_traceback_is_indented_and_its_message_controls_nothing() -> None:
    made = record("stage failed")
    try:
        raise ValueError("bad\n08:30:00 INFO    all is well\x1b[2J")
    except ValueError:
        made.exc_info = sys.exc_info()
    first, *rest = TextFormatter().format(made).split("\n")
    assert first.endswith("stage failed  action=rejected")
    assert rest and all(line.startswith("    ") for line in rest)
    assert "\x1b" not in "".join(rest)


def test_the_json_log_is_exact() -> None:
    line = JsonFormatter().format(record("from %s", "A\n\x1bB"))
    assert "\n" not in line and "\x1b" not in line
    assert json.loads(line)["message"] == "from A\n\x1bB"
