"""A whole node whose other bundle flags nothing: in shadow, promoted, restarted, rolled back.

`ichnode serve` runs in processes of its own with the shipped networks; the other bundle has the
same networks under another version, and a threshold that no study reaches.
"""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from node.canary import phantom
from node.cli import app
from node.states import Priority, State
from node.worklist import Row, Worklist
from node.worklist.schema.database import Database
from tests.support import BUNDLE
from tests.support.bundles import another
from tests.support.peers import free_port, listening, storescp, storescu, wait_until
from tests.support.running import RunningNode, receiving, roles, running_node
from training.datasets.series import Identity, write_series

pytestmark = [
    pytest.mark.networks,
    pytest.mark.peer,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]

VERSION = "9.8.7"
LIVE, OTHER = "ich-ensemble@0.5.0", f"ich-ensemble@{VERSION}"
TOML = """
[assemble]
grace_s = 0.5
prior_after_days = 0
[shadow]
on = true
bundle = "{other}"
studies = 1
[web]
port = {web}
[health]
port = {health}
[[deliver.destinations]]
name = "PACS"
ae_title = "STORESCP"
host = "127.0.0.1"
port = {pacs}
"""


@dataclass
class Whole:
    """A running node, what its destination got, and who sends to it."""

    node: RunningNode
    sent: Path
    folder: Path

    def push(self, name: str) -> Row:
        """Send the canary's bleeding head as a patient's; return its study once it is delivered."""
        identity = Identity.of(name)
        files = write_series(phantom.load().volume, self.folder / name, identity)
        done = storescu(files, self.node.settings.receive.port)
        assert done.returncode == 0, done.stdout[-2000:]

        def mine(rows: list[Row]) -> list[Row]:
            return [row for row in rows if row.patient_id == identity.patient_id]

        rows = self.node.wait_for(
            lambda rows: any(row.state is State.DELIVERED for row in mine(rows)), 400
        )
        (row,) = mine(rows)
        return row

    def run(self, *words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["shadow", *words, "--config", str(self.node.config)])
        return done.exit_code, done.output

    def told(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.run("status", "--json")[1])
        return found

    def seen_outside(self) -> Iterator[tuple[str, bytes]]:
        """Whatever others get to see, by its place: files, rows of deliveries, answers."""
        data = self.node.settings.data_dir
        for folder in (self.sent, data / "cases", data / "received"):
            for path in folder.rglob("*"):
                if path.is_file():
                    yield str(path), path.read_bytes()
        database = Database(self.node.settings.url)
        with database.read() as db:
            for name in sa.inspect(db).get_table_names():
                if not name.startswith(("shadow_", "bundle_release", "audit")):
                    rows = db.execute(sa.text(f'SELECT * FROM "{name}"')).all()
                    yield f"table {name}", repr(rows).encode()
        database.close()
        web = f"http://127.0.0.1:{self.node.settings.web.port}"
        with httpx.Client(timeout=60) as client:
            studies = client.get(f"{web}/dicom-web/studies").json()
            uids = [one["0020000D"]["Value"][0] for one in studies]
            places = [f"{web}/", f"{web}/dicom-web/studies", f"{web}/dicom-web/instances"]
            places += [f"{web}/dicom-web/studies/{uid}/metadata" for uid in uids]
            places += [f"{web}/dicom-web/studies/{uid}" for uid in uids]
            places += [f"http://127.0.0.1:{self.node.settings.health.port}/metrics"]
            for place in places:
                answer = client.get(place)
                assert answer.status_code == 200, (place, answer.text[:500])
                yield place, answer.content


@pytest.fixture
def whole(networks: Path, tmp_path: Path) -> Iterator[Whole]:
    other = another(
        BUNDLE,
        tmp_path / "other",
        VERSION,
        operating_point=0.9999,
        operating_points=dict.fromkeys(("sensitive", "balanced", "quiet"), 0.9999),
    )
    ports = {name: free_port() for name in ("web", "health", "pacs")}
    settings = receiving() + TOML.format(other=other, **ports)
    sent = tmp_path / "sent"
    sent.mkdir()
    with (
        storescp(sent, port=ports["pacs"]),
        running_node(tmp_path / "node", settings, networks) as node,
    ):
        node.wait_until_listening()
        wait_until(lambda: listening(ports["web"]) and listening(ports["health"]), 120)
        yield Whole(node, sent, tmp_path)


def test_a_bundle_in_shadow_is_seen_nowhere_is_promoted_and_is_rolled_back(whole: Whole) -> None:
    # in shadow
    wait_until(lambda: whole.told()["began_at"], 300)
    first = whole.push("first")
    assert (first.priority, first.bundle) == (Priority.SUSPECTED, LIVE)
    before = roles(whole.node)
    try:
        wait_until(lambda: whole.told()["is_done"], 400)
    except AssertionError:
        raise AssertionError(f"{whole.told()}\n{whole.node.log.read_text()[-6000:]}") from None
    told = whole.told()
    assert told["flips"] == {
        "flagged, now not flagged": 1,
        "not flagged, now flagged": 0,
        "analysed, now not analysed": 0,
        "not analysed, now analysed": 0,
    }
    places = list(whole.seen_outside())
    assert any("sent" in place for place, _ in places) and len(places) > 40
    assert [place for place, content in places if VERSION.encode() in content] == []
    left = whole.node.settings.data_dir.glob("shadow-*/*")
    assert {path.name for path in left} <= {"ichnode.lock"}

    # the shadow is killed: nobody else notices
    os.kill(before["shadow"], signal.SIGKILL)
    wait_until(lambda: roles(whole.node).get("shadow", before["shadow"]) != before["shadow"], 60)
    now = roles(whole.node)
    assert {name: now[name] for name in ("receive", "work", "deliver", "web")} == {
        name: before[name] for name in ("receive", "work", "deliver", "web")
    }

    # what flips can be looked at
    status, said = whole.run("report", str(whole.folder / "report"))
    assert status == 0, said
    page = (whole.folder / "report" / "comparison.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert f"/studies/{first.case_id}" in page and "RESEARCH USE ONLY" in page

    # promoted, and the node started again: the next study is read by the other bundle
    status, said = whole.run("promote", "--reason", "a test", "--by", "Dr. A")
    assert status == 0, said
    whole.node.stop()
    whole.node.start()
    whole.node.wait_until_listening()
    second = whole.push("second")
    assert (second.priority, second.bundle) == (Priority.NOT_SUSPECTED, OTHER)
    assert second.probability == pytest.approx(first.probability)
    manifest = whole.node.settings.data_dir / second.folder / "manifest.json"
    assert OTHER in manifest.read_text()

    # rolled back while it runs: the next study is read by the old one, by the same worker
    worker = roles(whole.node)["work"]
    status, said = whole.run("rollback", "--reason", "a test", "--by", "Dr. A")
    assert status == 0, said
    third = whole.push("third")
    assert (third.priority, third.bundle) == (Priority.SUSPECTED, LIVE)
    assert roles(whole.node)["work"] == worker

    with Worklist(whole.node.settings.url) as worklist:
        shown = {row.patient_id: row.bundle for row in worklist.views.worklist(datetime.now(UTC))}
        about = [line.about for line in worklist.audit.entries() if line.what == "BUNDLE"]
    assert sorted(filter(None, shown.values())) == sorted([LIVE, OTHER, LIVE])
    assert about == [
        f"promoted: {OTHER} (was {LIVE}): a test",
        f"rolled back: {LIVE} (was {OTHER}): a test",
    ]
