"""Coverage and what the node lacks raise alarms: once each, and once their end."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node.announced import ListedStudy, Shows, Told
from node.deliver import NotTold
from node.errors import IchnodeError
from node.jobs.alarming import Alarming
from node.settings import Settings
from node.worklist import Actor, Process, Worklist
from tests.support.databases import new_database
from tests.support.listeners import Heard, status, web_peer

T0 = datetime(2026, 11, 20, 8, tzinfo=UTC)
STUDY = "1.7.1"
UNSEEN = Told(ListedStudy(STUDY, "20261120", "075500", images=3), Shows.HEAD, {"1.8.1": 3}, True)
ANNA = Actor("anna", "terminal")


@dataclass
class Watched:
    """A worklist, what its alarms told, and a clock that the test moves."""

    worklist: Worklist
    heard: Heard
    settings: Settings
    now: datetime = T0
    job: Alarming = field(init=False)

    def __post_init__(self) -> None:
        self.job = Alarming(lambda: self.settings, self.worklist, lambda: self.now)

    def look(self, minutes: float = 0, waits: str = "") -> None:
        """Let time pass with all roles running, and look twice."""
        self.now += timedelta(minutes=minutes)
        for role in self.settings.health.roles:
            one = Process(role, role, self.now, self.now, self.now, waits if role == "work" else "")
            self.worklist.processes.beat(one)
        self.job()
        self.job()

    def said(self) -> list[tuple[str, str, str]]:
        told = [json.loads(one.body) for one in self.heard.messages]
        return [(one["event"], one["what"], one["said"]) for one in told]


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setenv("HOOK", "key")
    with web_peer(*[status(204)] * 20) as peer:
        hook = {"url": f"http://127.0.0.1:{peer.port}/alarms", "secret_variable": "HOOK"}
        pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
        settings = Settings.model_validate(
            {
                "data_dir": tmp_path,
                "receive": {"min_free_mb": 0},
                "pull": {"sources": [pacs]},
                "coverage": {"ask": ["pacs"], "grace_min": 30},
                "deliver": {"destinations": [{"name": "hook", "how": "webhook", "webhook": hook}]},
                "alarms": {"to": ["hook"], "after_s": 300},
            }
        )
        new_database(settings.url)
        with Worklist(settings.url) as worklist:
            yield Watched(worklist, peer, settings)


def test_a_head_ct_that_stays_unseen_is_told_once_and_so_is_its_end(watched: Watched) -> None:
    watched.worklist.coverage.told("pacs", [UNSEEN], T0)
    watched.look(29)
    assert watched.said() == []
    watched.look(2)
    watched.look(60)
    unseen = ("alarm", "coverage", "Performed, never seen: 1 head CT")
    assert watched.said() == [unseen]
    watched.worklist.coverage.set_aside(STUDY, ANNA, watched.now)
    watched.look()
    assert watched.said() == [unseen, ("alarm_ended", *unseen[1:])]


def test_a_role_that_waits_for_long_is_told_once_and_so_is_its_end(watched: Watched) -> None:
    watched.look(waits="No space left on device")
    watched.look(4, waits="No space left on device")
    assert watched.said() == []
    watched.look(2, waits="No space left on device")
    watched.look(9, waits="No space left on device")
    lacks = ("node", "work: waits: No space left on device")
    assert watched.said() == [("alarm", *lacks)]
    watched.look(1)
    watched.look(9)
    assert watched.said() == [("alarm", *lacks), ("alarm_ended", *lacks)]


def test_what_comes_and_goes_and_what_a_person_paused_are_no_alarm(watched: Watched) -> None:
    watched.worklist.deliveries.pause(ANNA, "the PACS is moved", T0)
    for _ in range(5):
        watched.look(4, waits="the database is locked")
        watched.look(1)
    assert watched.said() == []


def test_a_worklist_that_takes_nothing_is_told_without_it(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise IchnodeError("the worklist database is away")

    watched.look()
    with monkeypatch.context() as broken:
        broken.setattr(type(watched.worklist.alarms), "note", away)
        for _ in range(3):
            watched.now += timedelta(minutes=4)
            with pytest.raises(IchnodeError, match="is away"):
                watched.job()
    lacks = ("worklist", "the worklist takes nothing: the worklist database is away")
    assert watched.said() == [("alarm", *lacks)]
    watched.look()
    assert watched.said() == [("alarm", *lacks), ("alarm_ended", *lacks)]


def test_who_was_not_reached_is_told_later(watched: Watched) -> None:
    watched.worklist.coverage.told("pacs", [UNSEEN], T0)
    deliver = watched.settings.deliver
    (hook,) = deliver.destinations
    nowhere = hook.webhook.model_copy(update={"url": "http://127.0.0.1:1/"})
    deaf = deliver.model_copy(
        update={"destinations": (hook.model_copy(update={"webhook": nowhere}),)}
    )
    settings = watched.settings
    watched.settings = settings.model_copy(update={"deliver": deaf})
    with pytest.raises(NotTold, match="hook"):
        watched.look(60)
    watched.settings = settings
    watched.look()
    assert [event for event, *_ in watched.said()] == ["alarm"]
