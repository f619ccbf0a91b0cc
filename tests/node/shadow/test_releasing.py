"""A bundle is promoted and rolled back: who may, what is checked, and what reads then."""

import json
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cases.detector import load_detector, with_release
from node.cli import app
from node.errors import BadConfiguration
from node.shadow import releasing
from node.shadow.releasing import promote, roll_back
from node.worklist import Actor, Deed, IllegalMove, Release, standing_promotion
from tests.support.bundles import named
from tests.support.shadowed import Shadowed
from tests.support.working import receive, work

ADMIN = Actor("admin", "terminal")


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whatever is loaded before it comes into force, and loads."""
    found: list[str] = []
    monkeypatch.setattr(
        releasing, "load_detector", lambda settings: found.append(settings.triage.bundle.name)
    )
    return found


def promoted(shadowed: Shadowed, *, early: bool = True) -> None:
    promote(
        shadowed.settings, shadowed.worklist, ADMIN, "it is better", shadowed.clock, early=early
    )


def rolled_back(shadowed: Shadowed) -> None:
    roll_back(shadowed.settings, shadowed.worklist, ADMIN, "it is worse", shadowed.clock)


def reads(shadowed: Shadowed) -> str:
    """The folder of the bundle that the worker would read with."""
    newest = shadowed.worklist.releases.newest()
    return with_release(shadowed.settings, newest).triage.bundle.name


def test_too_few_studies_are_refused_unless_it_is_meant(shadowed: Shadowed) -> None:
    with pytest.raises(BadConfiguration, match="fake@2 has read 0 of 2 studies in shadow"):
        promoted(shadowed, early=False)
    assert reads(shadowed) == "live"
    promoted(shadowed)
    assert reads(shadowed) == "other"


def test_a_promotion_after_enough_studies_and_its_rollback_are_noted(
    shadowed: Shadowed, loaded: list[str]
) -> None:
    shadowed.begin()
    for number in (1, 2):
        receive(shadowed.node, scan=shadowed.head(number))
    work(shadowed.node, shadowed.clock)
    shadowed.read()
    promoted(shadowed, early=False)
    assert (reads(shadowed), loaded) == ("other", ["other"])
    assert shadowed.standing().is_live and not shadowed.standing().trouble
    rolled_back(shadowed)
    assert (reads(shadowed), loaded) == ("live", ["other", "live"])
    told = [
        (line.who, line.about)
        for line in shadowed.worklist.audit.entries()
        if line.what is Deed.BUNDLE
    ]
    assert told == [
        ("admin", "promoted: fake@2 (was fake@1): it is better"),
        ("admin", "rolled back: fake@1 (was fake@2): it is worse"),
    ]
    first, second = shadowed.worklist.releases.listed()
    assert (first.read, first.by_settings, second.by_settings) == (2, False, True)
    assert shadowed.standing().is_done, "what it had read is still known"
    with pytest.raises(BadConfiguration, match="nothing to roll back"):
        rolled_back(shadowed)


def test_a_bundle_that_is_damaged_or_missing_is_refused_and_the_live_one_stays(
    shadowed: Shadowed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releasing, "load_detector", load_detector)
    metadata = tmp_path / "other" / "configs" / "metadata.json"
    metadata.write_text(metadata.read_text().replace("}", ', "threshold": 0}'))
    with pytest.raises(BadConfiguration, match="metadata.json is not the file that was released"):
        promoted(shadowed)
    metadata.unlink()
    with pytest.raises(BadConfiguration, match="other is no bundle"):
        promoted(shadowed)
    assert reads(shadowed) == "live"
    assert shadowed.worklist.releases.newest() is None
    assert not [one for one in shadowed.worklist.audit.entries() if one.what is Deed.BUNDLE]


def test_a_promoted_bundle_that_is_gone_or_another_is_a_clear_error(
    shadowed: Shadowed, tmp_path: Path
) -> None:
    promoted(shadowed)
    sums = tmp_path / "other" / "SHA256SUMS"
    before = sums.read_text()
    sums.write_text("changed")
    with pytest.raises(
        BadConfiguration, match="no longer holds fake@2, in force since .* by admin"
    ):
        reads(shadowed)
    sums.unlink()
    with pytest.raises(BadConfiguration, match="is no bundle.*put it back, or take it back by"):
        reads(shadowed)
    rolled_back(shadowed)
    assert reads(shadowed) == "live"
    sums.write_text(before)


def test_a_rollback_to_what_is_gone_is_refused(shadowed: Shadowed, tmp_path: Path) -> None:
    promoted(shadowed)
    (tmp_path / "live" / "SHA256SUMS").write_text("changed")
    with pytest.raises(BadConfiguration, match="no longer holds fake@1"):
        rolled_back(shadowed)
    assert reads(shadowed) == "other"


def test_promotions_are_taken_back_one_by_one(shadowed: Shadowed, tmp_path: Path) -> None:
    promoted(shadowed)
    third = str(named(tmp_path / "third", "fake", "3"))
    shadow = shadowed.settings.shadow.model_copy(update={"bundle": third})
    shadowed.settings = shadowed.settings.model_copy(update={"shadow": shadow})
    promoted(shadowed)
    assert reads(shadowed) == "third"
    rolled_back(shadowed)
    assert reads(shadowed) == "other"
    rolled_back(shadowed)
    assert reads(shadowed) == "live"
    assert standing_promotion(shadowed.worklist.releases.listed()) is None


def test_of_two_who_decide_at_once_one_is_told(shadowed: Shadowed) -> None:
    decided: Release | None = None
    promoted(shadowed)
    newest = shadowed.worklist.releases.newest()
    assert newest is not None
    with pytest.raises(IllegalMove, match="somebody else has just decided"):
        shadowed.worklist.releases.decide(
            *(newest.what, newest.bundle, newest.was, ADMIN, "too", shadowed.clock()),
            after=decided,
        )


def test_the_worker_ends_its_turn_before_a_stage_that_another_bundle_is_for(
    shadowed: Shadowed,
) -> None:
    from node.cases.worker import work as worker

    receive(shadowed.node, scan=shadowed.head(1))
    worker(shadowed.node, "worker", threading.Event(), lambda: True)
    (row,) = shadowed.worklist.views.worklist(shadowed.clock.now)
    assert row.state == "RECEIVING"


def test_the_commands_say_what_they_did(shadowed: Shadowed, tmp_path: Path) -> None:
    config = tmp_path / "ichnode.toml"
    config.write_text(
        f'data_dir = "{shadowed.settings.data_dir}"\n'
        f'[triage]\nbundle = "{tmp_path / "live"}"\n'
        f'[shadow]\non = true\nbundle = "{tmp_path / "other"}"\nstudies = 5\n'
    )

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["shadow", *words, "--config", str(config)])
        return done.exit_code, done.output

    status, said = run("status")
    assert status == 0 and "live: fake@1" in said and "read 0 of 5 studies" in said
    status, said = run("promote", "--reason", "better")
    assert status == 2 and "has read 0 of 5 studies in shadow" in said
    status, said = run("promote", "--reason", "better", "--early", "--by", "Dr. A")
    assert status == 0 and "fake@2 reads from the next case on; fake@1 read before" in said
    assert f'set triage.bundle = "{tmp_path / "other"}"' in said
    status, said = run("status", "--json")
    told = json.loads(said)
    assert (status, told["live"]["version"], told["is_live"]) == (0, "2", True)
    assert [(one["what"], one["who"]) for one in told["decided"]] == [("PROMOTED", "Dr. A")]
    status, said = run("report", str(tmp_path / "out"))
    assert status == 2 and "is the live bundle" in said
    status, said = run("rollback", "--reason", "worse")
    assert status == 0 and "the settings name it: they hold again" in said
    status, said = run("report", str(tmp_path / "out"))
    assert status == 2 and "has read nothing in the shadow of fake@1 yet" in said
