"""Which cases the shadow reads, when, how often, and what it leaves of them."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from models.findings import Unreadable
from node.errors import Outage
from node.wording import Flip
from node.worklist import Actor, Opinion, ShadowResult
from node.worklist.schema.database import Database
from tests.support.shadowed import Shadowed
from tests.support.working import Predictor, receive, work

ADMIN = Actor("admin", "terminal")


def files(folder: Path) -> dict[str, bytes]:
    """Return what lies below a folder, but for the database."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("ichnode.sqlite")
    }


def tables(shadowed: Shadowed) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of every table that is not the shadow's own."""
    database = Database(shadowed.settings.url)
    found = {}
    with database.read() as db:
        for name in sa.inspect(db).get_table_names():
            if not name.startswith("shadow_"):
                query = sa.text(f'SELECT * FROM "{name}"')
                found[name] = [tuple(row) for row in db.execute(query)]
    database.close()
    return found


def reported(shadowed: Shadowed, *numbers: int) -> None:
    """Let the live bundle read heads."""
    for number in numbers:
        receive(shadowed.node, scan=shadowed.head(number))
    work(shadowed.node, shadowed.clock)


def test_what_was_reported_since_it_began_is_read_once_and_nothing_else_changes(
    shadowed: Shadowed,
) -> None:
    reported(shadowed, 1)
    shadowed.begin()
    reported(shadowed, 2)
    before = files(shadowed.settings.data_dir), tables(shadowed)
    shadowed.read()
    shadowed.read()
    assert (files(shadowed.settings.data_dir), tables(shadowed)) == before
    (one,) = shadowed.compared()
    assert one.study_instance_uid == shadowed.head(2).build()[0].StudyInstanceUID
    assert (one.live.result, one.told.result) == ("SUSPECTED", "NO_FINDING")
    assert (one.live.probability, one.told.probability) == (0.9, 0.1)
    assert one.live.volume_ml and one.told.volume_ml == 0
    assert one.told.seconds and one.told.seconds > 0
    assert one.origin["kernel"] == "H31s"


def test_it_stops_after_as_many_studies_as_were_asked_for(shadowed: Shadowed) -> None:
    shadowed.begin()
    reported(shadowed, 1, 2, 3)
    shadowed.read()
    found = shadowed.standing()
    assert (found.read, found.wanted, found.is_done) == (2, 2, True)
    assert (found.flips, found.analysed, found.agree) == ({Flip.UNFLAGGED: 2}, 2, 0)
    more = shadowed.settings.shadow.model_copy(update={"studies": 3})
    shadowed.settings = shadowed.settings.model_copy(update={"shadow": more})
    assert not shadowed.standing().is_done
    shadowed.read()
    assert shadowed.standing().read == 3


def test_live_cases_go_first(shadowed: Shadowed) -> None:
    shadowed.begin()
    reported(shadowed, 1)
    receive(shadowed.node, scan=shadowed.head(2))
    database = Database(shadowed.settings.url)
    with database.write() as db:  # as the worker leaves it between two stages
        db.execute(sa.text("UPDATE \"case\" SET state = 'ASSEMBLED' WHERE state = 'RECEIVING'"))
    shadowed.read()
    assert shadowed.standing().waiting == 1 and shadowed.compared() == []
    with database.write() as db:
        db.execute(sa.text("UPDATE \"case\" SET state = 'RECEIVING' WHERE state = 'ASSEMBLED'"))
    database.close()
    shadowed.read()
    assert len(shadowed.compared()) == 1


def test_what_one_of_them_cannot_read_is_a_flip_with_its_reason(
    shadowed: Shadowed, other: Predictor, live: Predictor
) -> None:
    shadowed.begin()
    other.failures = [Unreadable("no brain found")]
    reported(shadowed, 1)
    shadowed.read()
    live.failures = [Unreadable("too dark")]
    reported(shadowed, 2)
    shadowed.read()
    first, second = shadowed.compared()
    assert (first.told.result, first.told.reason) == ("NOT_ANALYSED", "no brain found")
    assert (second.live.result, second.live.reason) == ("NOT_ANALYSED", "too dark")
    assert shadowed.standing().flips == {Flip.NOT_ANALYSED: 1, Flip.ANALYSED: 1}


def test_a_case_that_fails_is_read_again_and_then_left_with_its_reason(
    shadowed: Shadowed, other: Predictor
) -> None:
    shadowed.begin()
    other.failures = [RuntimeError("no such layer")]
    reported(shadowed, 1, 2)
    shadowed.read()
    assert shadowed.results() == [ShadowResult.NO_FINDING]  # the first waits
    shadowed.read()
    assert len(shadowed.results()) == 1
    other.failures = [RuntimeError("no such layer")]
    shadowed.clock.wait(120)
    shadowed.read()
    failed, _ = shadowed.compared()
    assert (failed.told.result, failed.told.reason) == ("FAILED", "RuntimeError: no such layer")
    assert shadowed.standing().is_done, "it had its chance of both"


def test_a_case_that_ends_its_process_twice_is_left(shadowed: Shadowed, other: Predictor) -> None:
    class Killed(BaseException):
        """As a kill, nobody catches it."""

    shadowed.begin()
    reported(shadowed, 1, 2)
    for _ in range(2):
        other.failures = [Killed()]  # type: ignore[list-item]
        with pytest.raises(Killed):
            shadowed.read()
        shadowed.clock.wait(shadowed.settings.work.lease_s + 1)
    shadowed.read()
    killed, read = shadowed.compared()
    assert (killed.told.result, read.told.result) == ("KILLED", "NO_FINDING")
    assert "2 times" in killed.told.reason


def test_an_outage_is_no_attempt_of_the_case(shadowed: Shadowed, other: Predictor) -> None:
    shadowed.begin()
    reported(shadowed, 1)
    for _ in range(4):
        other.failures = [OSError(28, "No space left on device")]
        with pytest.MonkeyPatch.context() as patch:

            def full(_: Path) -> None:
                raise Outage("No space left on device")

            patch.setattr("node.shadow.loop.require_room", full)
            with pytest.raises(Outage):
                shadowed.read()
    shadowed.read()
    assert shadowed.results() == [ShadowResult.NO_FINDING]


def test_a_study_that_was_purged_is_a_row_that_says_so_and_does_not_count(
    shadowed: Shadowed,
) -> None:
    shadowed.begin()
    reported(shadowed, 1)
    (row,) = shadowed.worklist.views.worklist(shadowed.clock.now)
    gone = shadowed.worklist.retention.decide(
        *(row.study_instance_uid, ADMIN, "old", shadowed.clock()),
        results=False,
        unacknowledged=timedelta(0),
    )
    assert gone is not None
    shadowed.read()
    (one,) = shadowed.compared()
    assert one.told.result is ShadowResult.PURGED and "purged" in one.told.reason
    assert shadowed.standing().read == 0 and shadowed.standing().flips == {}


def test_pictures_of_flips_are_kept_until_the_results_are_purged(shadowed: Shadowed) -> None:
    shadowed.begin()
    reported(shadowed, 1)
    shadowed.read()
    found = shadowed.standing()
    assert found.other and found.live
    run = shadowed.worklist.shadows.run(found.other, found.live)
    assert run is not None
    (one,) = shadowed.compared()
    pictures = shadowed.worklist.shadows.pictures(run, one.case_id)
    assert all(jpeg and jpeg.startswith(b"\xff\xd8") for jpeg in pictures)
    (row,) = shadowed.worklist.views.worklist(shadowed.clock.now)
    uid = row.study_instance_uid
    shadowed.worklist.feedback.give(uid, "Dr. A", Opinion(), shadowed.clock())
    gone = shadowed.worklist.retention.decide(
        *(row.study_instance_uid, ADMIN, "old", shadowed.clock()),
        results=True,
        unacknowledged=timedelta(0),
    )
    assert gone is not None
    assert shadowed.worklist.shadows.pictures(run, one.case_id) == (None, None)
    assert len(shadowed.compared()) == 1


def test_a_withdrawn_result_is_not_compared(shadowed: Shadowed) -> None:
    shadowed.begin()
    reported(shadowed, 1)
    (row,) = shadowed.worklist.views.worklist(shadowed.clock.now)
    retractions = shadowed.worklist.retractions
    retractions.withdraw(row.study_instance_uid, ADMIN, "an error", shadowed.clock(), None)
    work(shadowed.node, shadowed.clock)
    shadowed.read()
    assert shadowed.compared() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bundle": "/nowhere"}, "/nowhere is no bundle"),
        ({"bundle": "TWIN"}, "give it a version of its own"),
    ],
)
def test_what_keeps_it_from_reading_is_said_and_the_role_lives_on(
    change: dict[str, str],
    said: str,
    shadowed: Shadowed,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    twin = tmp_path / "twin"
    (twin / "configs").mkdir(parents=True)
    (twin / "configs/metadata.json").write_text(json.dumps({"name": "fake", "version": "1"}))
    (twin / "SHA256SUMS").write_text("other\n")
    places = {"LIVE": str(tmp_path / "live"), "TWIN": str(twin)}
    bundle = places.get(change["bundle"], change["bundle"])
    shadow = shadowed.settings.shadow.model_copy(update={"bundle": bundle})
    shadowed.settings = shadowed.settings.model_copy(update={"shadow": shadow})
    shadowed.read()
    assert said in shadowed.standing().trouble
    assert any(said in record.getMessage() for record in caplog.records)


def test_two_shadows_of_one_node_never_read_the_same_case(shadowed: Shadowed) -> None:
    shadowed.begin()
    reported(shadowed, 1, 2)
    found = shadowed.standing()
    assert found.other and found.live
    run = shadowed.worklist.shadows.run(found.other, found.live)
    assert run is not None
    now = shadowed.clock()
    claims = [shadowed.worklist.shadows.claim(run, run.began_at, name, 60, now) for name in "abc"]
    assert [one and one.case_id for one in claims] == [1, 2, None]
    shadowed.clock.wait(61)
    again = shadowed.worklist.shadows.claim(run, run.began_at, "c", 60, shadowed.clock())
    assert again is not None and (again.case_id, again.attempts) == (1, 2)


def test_a_phantom_of_the_canary_is_not_read(shadowed: Shadowed) -> None:
    shadowed.begin()
    uid = shadowed.head(1).build()[0].StudyInstanceUID
    shadowed.worklist.canaries.send(uid, "0" * 64, shadowed.clock())
    reported(shadowed, 1)
    shadowed.read()
    assert shadowed.compared() == []
