"""The audit trail goes to a collector over syslog TLS: each row at least once, whatever happens."""

import re
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from node.audit import forward
from node.audit.forward import Forwarder, forwarding
from node.cli.doctor import check_collector
from node.errors import BadConfiguration, Retryable
from node.settings import Audit as Collection
from node.settings import Settings
from node.worklist import Actor, AuditLine, Deed, Worklist
from tests.support.collector import Collector, End, collecting, self_signed, serving_context
from tests.support.databases import new_database
from tests.support.peers import free_port, wait_until

T0 = datetime(2026, 11, 20, 3, 15, tzinfo=UTC)
ROWS = 25


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    folder = tmp_path_factory.mktemp("certificates")
    return {name: self_signed(folder, name) for name in ("collector", "node", "stranger")}


@pytest.fixture
def worklist(tmp_path: Path) -> Iterator[Worklist]:
    url = f"sqlite:///{tmp_path / 'ichnode.sqlite'}"
    new_database(url)
    with Worklist(url) as worklist:
        add(worklist, ROWS)
        yield worklist


@pytest.fixture
def context(certificates: dict[str, tuple[str, str]]) -> ssl.SSLContext:
    return serving_context(certificates["collector"])


def add(worklist: Worklist, number: int) -> None:
    actor = Actor("VIEWER", "192.0.2.7")
    lines = [
        AuditLine(actor, Deed.RETRIEVED, T0 + timedelta(seconds=n), f"1.2.{n}", "C-GET")
        for n in range(number)
    ]
    worklist.audit.record_all(lines)


def settings(certificates: dict[str, tuple[str, str]], port: int, **more: object) -> Settings:
    chosen = {"host": "127.0.0.1", "port": port, "ca_file": certificates["collector"][0]}
    return Settings(audit=Collection.model_validate(chosen | more))


def forwarder(worklist: Worklist, chosen: Settings) -> Forwarder:
    return Forwarder(chosen, worklist.audit, lambda: T0)


def studies(collector: Collector) -> list[str]:
    """The study of each message, in the order in which they came."""
    found = []
    for message in collector.messages:
        root = ET.fromstring(message.partition(b"\xef\xbb\xbf")[2])
        found.append(root[-1].attrib["ParticipantObjectID"])
    return found


def test_each_row_is_a_syslog_message_of_ps3_15_a_6(
    worklist: Worklist, certificates: dict[str, tuple[str, str]], context: ssl.SSLContext
) -> None:
    with collecting(context, "answer") as collector:
        one = forwarder(worklist, settings(certificates, collector.port))
        assert one.send_waiting() == ROWS
        assert one.send_waiting() == 0
        assert studies(collector) == [f"1.2.{n}" for n in range(ROWS)]
        header, _, xml = collector.messages[0].partition(b"\xef\xbb\xbf")
        form = rb"<85>1 2026-11-20T03:15:00\.000000Z \S+ ichnode \d+ DICOM\+RFC3881 - "
        assert re.fullmatch(form, header)
        assert ET.fromstring(xml).tag == "AuditMessage"


def test_a_sign_in_that_failed_is_a_warning(
    worklist: Worklist, certificates: dict[str, tuple[str, str]], context: ssl.SSLContext
) -> None:
    worklist.audit.record(Actor("nobody", "192.0.2.7"), Deed.SIGN_IN_FAILED, T0)
    with collecting(context, "answer") as collector:
        forwarder(worklist, settings(certificates, collector.port)).send_waiting()
        assert collector.messages[-1].startswith(b"<84>1 ")
        assert b'EventOutcomeIndicator="4"' in collector.messages[-1]


def test_nothing_is_missing_after_a_collector_that_was_away_and_left_in_the_middle(
    worklist: Worklist,
    certificates: dict[str, tuple[str, str]],
    context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forward, "BATCH", 10)
    port = free_port()
    one = forwarder(worklist, settings(certificates, port))
    with pytest.raises(Retryable, match="refused"):
        one.send_waiting()
    kept: list[str] = []
    with collecting(context, "answer", "cut", "cut", port=port) as collector:
        for _ in range(2):
            with pytest.raises(Retryable):
                one.send_waiting()
        kept += studies(collector)
    assert kept[:10] == [f"1.2.{n}" for n in range(10)] and kept[10:] == ["1.2.10", "1.2.10"]
    add(worklist, 1)
    with collecting(context, "answer", port=port) as collector:
        anew = forwarder(worklist, settings(certificates, port))  # as after a restart
        assert anew.send_waiting() == ROWS + 1 - 10, "what was answered is not sent again"
        kept += studies(collector)
    assert set(kept) == {f"1.2.{n}" for n in range(ROWS)}


@pytest.mark.parametrize("end", ["polite cut", "cut", "late cut", "deaf"])
def test_who_leaves_before_it_has_read_all_gets_all_again(
    worklist: Worklist,
    certificates: dict[str, tuple[str, str]],
    context: ssl.SSLContext,
    end: End,
) -> None:
    with collecting(context, end, "answer") as collector:
        one = forwarder(worklist, settings(certificates, collector.port))
        with pytest.raises(Retryable):
            one.send_waiting()
        collector.messages.clear()
        assert one.send_waiting() == ROWS
        assert studies(collector) == [f"1.2.{n}" for n in range(ROWS)]


def test_who_reads_all_and_closes_without_an_answer_has_it_where_that_is_set(
    worklist: Worklist, certificates: dict[str, tuple[str, str]], context: ssl.SSLContext
) -> None:
    with collecting(context, "silent") as collector:
        with pytest.raises(Retryable, match=r"audit\.await_close"):
            forwarder(worklist, settings(certificates, collector.port)).send_waiting()
        collector.messages.clear()
        one = forwarder(worklist, settings(certificates, collector.port, await_close=False))
        assert one.send_waiting() == ROWS and one.send_waiting() == 0
        assert len(collector.messages) == ROWS


def test_a_collector_with_another_certificate_gets_nothing(
    worklist: Worklist, certificates: dict[str, tuple[str, str]]
) -> None:
    with collecting(serving_context(certificates["stranger"]), "answer") as collector:
        with pytest.raises(Retryable, match="CERTIFICATE_VERIFY_FAILED"):
            forwarder(worklist, settings(certificates, collector.port)).send_waiting()
        assert collector.messages == []


def test_a_collector_that_wants_our_certificate_gets_it(
    worklist: Worklist, certificates: dict[str, tuple[str, str]]
) -> None:
    demanding = serving_context(certificates["collector"], client=certificates["node"][0])
    certificate, key = certificates["node"]
    with collecting(demanding, "answer") as collector:
        with pytest.raises(Retryable):
            forwarder(worklist, settings(certificates, collector.port)).send_waiting()
        assert collector.messages == []
        shown = settings(certificates, collector.port, certificate=certificate, key=key)
        assert forwarder(worklist, shown).send_waiting() == ROWS
        assert len(collector.messages) == ROWS


def test_it_goes_on_by_itself_and_says_once_that_the_collector_is_away(
    worklist: Worklist,
    certificates: dict[str, tuple[str, str]],
    context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(forward, "POLL_S", 0.02)
    monkeypatch.setattr(forward, "RETRY_S", 0.05)
    port, tries = free_port(), threading.Semaphore(0)
    caplog.set_level("INFO", "node.audit")
    waiting_for = worklist.audit.waiting_for

    def counted(collector: str, most: int) -> object:
        tries.release()
        return waiting_for(collector, most)

    monkeypatch.setattr(worklist.audit, "waiting_for", counted)
    with forwarding(settings(certificates, port), worklist.audit, lambda: T0):
        for _ in range(4):
            assert tries.acquire(timeout=20)
        with collecting(context, "answer", port=port) as collector:
            wait_until(lambda: len(collector.messages) >= ROWS, 20)
            wait_until(lambda: "has all of the trail again" in caplog.text, 20)
    assert caplog.text.count("is away") == 1


def test_doctor_says_how_the_collector_stands(
    certificates: dict[str, tuple[str, str]], context: ssl.SSLContext
) -> None:
    with collecting(context, "answer") as collector:
        chosen = settings(certificates, collector.port)
        assert [check.verdict for check in check_collector(chosen)] == ["ok"]
        assert collector.messages == []
    (check,) = check_collector(chosen)
    assert check.verdict == "bad" and "refused" in check.found
    assert list(check_collector(Settings())) == []


def test_without_a_collector_nothing_runs_and_a_missing_file_stops_the_start(
    worklist: Worklist,
) -> None:
    with forwarding(Settings(), worklist.audit, lambda: T0) as none:
        assert none is None
    wrong = Settings(audit=Collection(host="192.0.2.1", ca_file="/nowhere"))
    with pytest.raises(BadConfiguration, match="audit"):
        Forwarder(wrong, worklist.audit, lambda: T0)
