"""A canary on a real node: well, with its destination dead, changed, silent, and refused.

`ichnode serve` runs in processes of its own with the shipped networks. The test sends the phantom
and judges its answer, as the node's jobs do; later times are told, not waited for.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import numpy as np
import pytest

from node.canary import phantom, send, watch
from node.clock import utc_now
from node.deliver import tell_all
from node.errors import Retryable
from node.settings import Settings
from node.states import Priority
from node.worklist import Canary, Worklist
from tests.support.listeners import Heard, smtp_peer
from tests.support.peers import free_port, storescp, wait_until
from tests.support.running import RunningNode, receiving, roles, running_node

READ_S = 240.0
"""How long a canary may take: it must exceed the loading of the networks on two busy cores."""
pytestmark = [pytest.mark.networks, pytest.mark.peer, pytest.mark.slow]

ALARM, WELL = "ichnode: canary ALARM", "ichnode: canary is well again"

TOML = """
[canary]
every_min = 1000
limit_s = 200
[alarms]
to = ["on-call"]
after_s = 100000
[web]
port = {web}
[health]
port = 0
[deliver]
retry_s = 0.5
max_retry_s = 0.5
[[deliver.destinations]]
name = "PACS"
ae_title = "STORESCP"
host = "127.0.0.1"
port = {pacs}
[[deliver.destinations]]
name = "TEST"
ae_title = "STORESCP"
host = "127.0.0.1"
port = {test}
canary = true
[[deliver.destinations]]
name = "on-call"
how = "mail"
host = "127.0.0.1"
port = {mail}
priorities = ["SUSPECTED", "NOT_ANALYSED"]
[deliver.destinations.mail]
sender = "node@example.org"
recipient = "on-call@example.org"
security = "none"
"""


@dataclass
class Flown:
    """A running node, who hears of its alarms, and the folders of its destinations."""

    node: RunningNode
    worklist: Worklist
    mail: Heard
    folder: Path
    later: timedelta = timedelta()

    @property
    def settings(self) -> Settings:
        return self.node.settings

    def clock(self) -> datetime:
        return utc_now() + self.later

    def send(self) -> None:
        send(self.settings, self.worklist.canaries, self.worklist.alarms, self.clock)

    def watch(self) -> None:
        watch(self.settings, self.worklist.canaries, self.worklist.alarms, self.clock)
        tell_all(self.settings, self.worklist.alarms, self.clock())

    def judged(self) -> Canary:
        """Return the last canary once it is judged."""

        def looked() -> Canary | None:
            self.watch()
            last = self.worklist.canaries.last()
            return last if last is not None and last.ended_at is not None else None

        found: Canary = wait_until(looked, READ_S)
        return found

    def heard(self) -> list[EmailMessage]:
        return [
            message_from_bytes(content, policy=default)  # type: ignore[misc]
            for _, content in self.mail.messages
        ]

    def subjects(self) -> list[str]:
        return [str(one["Subject"]) for one in self.heard()]

    def alarms(self) -> list[str]:
        return [one.said for one in self.worklist.alarms.standing() if one.what == "canary"]

    @contextmanager
    def destination(self) -> Iterator[None]:
        """Run the destination of canaries while the block runs."""
        (to,) = (one for one in self.settings.deliver.archives if one.canary)
        with storescp(self.folder / "test", port=to.port):
            yield


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, networks: Path) -> Iterator[Flown]:
    folder = tmp_path_factory.mktemp("canary")
    with smtp_peer() as mail, storescp(folder / "pacs") as pacs:
        ports = {"web": free_port(), "test": free_port(), "pacs": pacs.port, "mail": mail.port}
        text = receiving() + TOML.format(**ports)
        with running_node(folder / "node", text, networks) as running:
            running.wait_until_listening()
            with Worklist(running.settings.url) as worklist:
                yield Flown(running, worklist, mail, folder)


@pytest.fixture
def flown(node: Flown) -> Iterator[Flown]:
    """The node, of which a canary came back sound; no alarm stands, and nobody heard of one."""
    node.later = timedelta()
    if node.worklist.canaries.last(sound=True) is None:
        with node.destination():
            node.send()
            assert node.judged().trouble is None
    node.worklist.alarms.note("canary", "", node.clock())
    node.watch()
    assert node.worklist.canaries.waiting() == [] and node.alarms() == []
    node.mail.messages.clear()
    yield node


def test_a_phantom_is_read_back_and_is_nobodys_result(flown: Flown) -> None:
    last = flown.worklist.canaries.last()
    assert last is not None and last.found is not None and last.door_to_flag_s is not None
    assert last.found.priority is Priority.SUSPECTED and last.door_to_flag_s > 0
    answer = flown.worklist.canaries.answer(last.study_instance_uid)
    assert answer is not None and {line.destination for line in answer.deliveries} == {"TEST"}
    assert flown.node.rows() == []
    assert list((flown.folder / "test").iterdir()) != []
    assert list((flown.folder / "pacs").iterdir()) == []


def test_a_changed_finding_raises_an_alarm_that_ends_when_it_is_as_before(
    flown: Flown, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = phantom.load()
    fresh = (drawn.volume.hu > 45) & (drawn.volume.hu < 90)
    healed = replace(drawn.volume, hu=np.where(fresh, np.float32(32), drawn.volume.hu))
    monkeypatch.setattr(phantom, "load", lambda: phantom.Phantom(healed, drawn.sha256))
    with flown.destination():
        flown.send()
        last = flown.judged()
        assert last.trouble is not None and "finding in the phantom changed" in last.trouble
        assert flown.alarms() == [last.trouble] and flown.subjects() == [ALARM]
        assert last.trouble in flown.heard()[0].get_content()
        monkeypatch.undo()
        flown.send()
        assert flown.judged().trouble is None
    flown.watch()
    assert flown.alarms() == [] and flown.subjects() == [ALARM, WELL]


def test_an_old_phantom_is_removed_with_its_files(flown: Flown) -> None:
    last = flown.worklist.canaries.last()
    assert last is not None
    uid = last.study_instance_uid
    ((_, files, folders),) = (
        one for one in flown.worklist.canaries.old(flown.clock()) if one[0] == uid
    )
    held = [flown.settings.data_dir / path for path in (*files, *folders)]
    assert len(files) == 32 and all(path.exists() for path in held)
    flown.later = timedelta(hours=25)
    flown.watch()
    assert not any(path.exists() for path in held)
    assert flown.worklist.canaries.answer(uid) is None
    assert flown.worklist.views.is_canary(uid)


def test_a_door_that_does_not_open_raises_an_alarm(flown: Flown) -> None:
    receive = flown.settings.receive.model_copy(update={"port": free_port()})
    shut = flown.settings.model_copy(update={"receive": receive})
    with pytest.raises(Retryable, match="own door did not take the phantom"):
        send(shut, flown.worklist.canaries, flown.worklist.alarms, flown.clock)
    flown.watch()
    (said,) = flown.alarms()
    assert "own door" in said and flown.subjects() == [ALARM]


def test_an_alarm_that_nobody_takes_is_told_once_somebody_does(flown: Flown) -> None:
    flown.worklist.alarms.note("canary", "silent", flown.clock())
    away = [one.model_copy(update={"port": free_port()}) for one in flown.settings.deliver.messaged]
    deliver = flown.settings.deliver.model_copy(update={"destinations": tuple(away)})
    deaf = flown.settings.model_copy(update={"deliver": deliver})
    with pytest.raises(Retryable, match="not told to on-call"):
        tell_all(deaf, flown.worklist.alarms, flown.clock())
    flown.watch()
    flown.watch()
    assert flown.subjects() == [ALARM]


def test_a_dead_destination_raises_an_alarm_with_its_last_words(flown: Flown) -> None:
    flown.send()
    (sent,) = flown.worklist.canaries.waiting()
    uid = sent.study_instance_uid

    def tried() -> bool:
        answer = flown.worklist.canaries.answer(uid)
        return bool(answer and any(line.last_message for line in answer.deliveries))

    wait_until(tried, READ_S)
    flown.watch()
    assert flown.alarms() == []  # it may still arrive
    flown.later = timedelta(seconds=201)
    last = flown.judged()
    assert last.trouble is not None and "did not reach TEST" in last.trouble
    assert last.found is not None and flown.subjects() == [ALARM]


def test_a_silent_worker_raises_an_alarm(flown: Flown) -> None:
    worker = roles(flown.node)["work"]
    os.kill(worker, signal.SIGSTOP)
    try:
        flown.send()
        flown.watch()
        assert flown.alarms() == []
        flown.later = timedelta(seconds=201)
        last = flown.judged()
        assert last.trouble is not None and "no result of the phantom within 200 s" in last.trouble
        assert flown.subjects() == [ALARM]
    finally:
        os.kill(worker, signal.SIGCONT)
