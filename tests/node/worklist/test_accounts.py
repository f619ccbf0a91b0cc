"""Accounts, sessions and the audit trail, on both databases."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node.errors import Permanent
from node.passwords import Comparison, WeakPassword, hashed
from node.worklist import Actor, BadName, Deed, NoAccount, Role, Session, Worklist
from tests.support.databases import new_database
from tests.support.postgresql import cluster

T0 = datetime(2026, 11, 20, 3, 15, tzinfo=UTC)
ADMIN = Actor("root", "terminal")
IDLE, LASTS = timedelta(minutes=30), timedelta(hours=12)


@contextmanager
def opened(url: str) -> Iterator[Worklist]:
    new_database(url)
    with Worklist(url) as worklist:
        yield worklist


@pytest.fixture
def worklist(tmp_path: Path) -> Iterator[Worklist]:
    with opened(f"sqlite:///{tmp_path}/ichnode.sqlite") as worklist:
        yield worklist


@pytest.fixture
def night(worklist: Worklist) -> str:
    """The secret of a session of Dr. Night."""
    worklist.accounts.add("Dr. Night", Role.RADIOLOGIST, "hash", ADMIN, T0)
    account = worklist.accounts.find("dr. NIGHT ")
    assert account is not None
    return worklist.accounts.open_session(account.number, "192.0.2.7", T0, LASTS)


def session(worklist: Worklist, secret: str, after: timedelta) -> Session | None:
    return worklist.accounts.session(secret, T0 + after, IDLE)


def test_an_account_is_found_however_its_name_is_written_and_cannot_be_made_twice(
    worklist: Worklist,
) -> None:
    assert not worklist.accounts.exist()
    worklist.accounts.add(" Jose\u0301 ", Role.VIEWER, "hash", ADMIN, T0)
    assert worklist.accounts.exist()
    found = worklist.accounts.find("JOSÉ")
    assert found is not None and found.name == "José"
    with pytest.raises(BadName, match="already"):
        worklist.accounts.add("josé", Role.VIEWER, "hash", ADMIN, T0)
    assert worklist.accounts.find("jose") is None


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "a\u202eb", "a\nb", "a\x1b[31m"])
def test_a_name_that_does_not_show_is_refused(worklist: Worklist, name: str) -> None:
    with pytest.raises(BadName):
        worklist.accounts.add(name, Role.VIEWER, "hash", ADMIN, T0)


def test_a_session_ends_when_idle_and_at_last_in_any_case(worklist: Worklist, night: str) -> None:
    assert session(worklist, night, IDLE) is None
    at = timedelta()
    while at + IDLE / 2 < LASTS:
        at += IDLE / 2
        found = session(worklist, night, at)
        assert found is not None and found.name == "Dr. Night"
        worklist.accounts.seen(found, T0 + at)
    assert session(worklist, night, LASTS) is None
    assert session(worklist, "x" + night, timedelta()) is None


def test_what_ends_a_session(worklist: Worklist) -> None:
    accounts = worklist.accounts
    accounts.add("N", Role.VIEWER, "hash", ADMIN, T0)
    account = accounts.find("N")
    assert account is not None

    def opened() -> str:
        return accounts.open_session(account.number, "192.0.2.7", T0, LASTS)

    one, two = opened(), opened()
    first = session(worklist, one, timedelta())
    assert first is not None
    accounts.close_session(first, "192.0.2.7", T0)
    assert session(worklist, one, timedelta()) is None
    assert session(worklist, two, timedelta()) is not None
    accounts.set_password("N", "other", ADMIN, T0)
    assert session(worklist, two, timedelta()) is None
    three = opened()
    accounts.disable("n", ADMIN, T0)
    assert session(worklist, three, timedelta()) is None
    accounts.enable("n", ADMIN, T0)
    assert session(worklist, three, timedelta()) is None


def test_a_role_holds_at_once(worklist: Worklist, night: str) -> None:
    worklist.accounts.set_role("Dr. Night", Role.VIEWER, ADMIN, T0)
    found = session(worklist, night, timedelta())
    assert found is not None and found.role is Role.VIEWER


def test_an_unknown_account_is_said_to_be(worklist: Worklist) -> None:
    with pytest.raises(NoAccount, match="ichnode user list"):
        worklist.accounts.disable("nobody", ADMIN, T0)


def test_neither_secret_nor_password_stands_in_the_database(
    worklist: Worklist, night: str, tmp_path: Path
) -> None:
    kept = hashed("correct horse battery", "N")
    worklist.accounts.add("N", Role.VIEWER, kept, ADMIN, T0)
    worklist.close()
    with sqlite3.connect(tmp_path / "ichnode.sqlite") as connection:
        dump = "\n".join(connection.iterdump())
    connection.close()
    assert night not in dump and "correct horse" not in dump and "$argon2id$" in dump


def test_a_view_is_recorded_once_for_a_study_and_a_session(worklist: Worklist) -> None:
    one, two = (Actor("N", "192.0.2.7", digest) for digest in ("1", "2"))
    for actor in (one, one, two):
        for deed in (Deed.STUDY, Deed.PICTURES):
            for uid in ("1.7.1", "1.7.2"):
                worklist.audit.record(actor, deed, T0, study_uid=uid)
    assert len(worklist.audit.entries()) == 8
    for _ in range(2):
        worklist.audit.record(one, Deed.FEEDBACK, T0, study_uid="1.7.1")
    assert [entry.what for entry in worklist.audit.entries("1.7.1", most=2)] == [Deed.FEEDBACK] * 2


def test_what_is_done_with_accounts_is_recorded(worklist: Worklist, night: str) -> None:
    del night
    worklist.accounts.set_role("dr. night", Role.ADMIN, ADMIN, T0)
    assert [(e.what, e.who, e.about, e.address) for e in worklist.audit.entries()] == [
        (Deed.ACCOUNT, "root", "Dr. Night: added as radiologist", "terminal"),
        (Deed.SIGNED_IN, "Dr. Night", None, "192.0.2.7"),
        (Deed.ACCOUNT, "root", "Dr. Night: role admin", "terminal"),
    ]


@pytest.mark.parametrize("password", ["", "short", "x" * 1025, "aaaaaaaaaaaaaa", "The Person Self"])
def test_a_password_that_is_guessed_at_once_is_not_taken(password: str) -> None:
    with pytest.raises(WeakPassword):
        hashed(password, "the person self")


def test_a_password_is_compared_however_its_characters_are_composed() -> None:
    comparison = Comparison()
    kept = hashed("pássword of mine", "N")
    assert comparison.matches(kept, "pa\u0301ssword of mine")
    assert not comparison.matches(kept, "password of mine")
    assert not comparison.matches(None, "nobody's password")
    assert not comparison.matches("no hash", "pássword of mine")


@pytest.mark.peer
def test_postgresql_holds_them_alike() -> None:
    with cluster() as url, opened(url) as worklist:
        worklist.accounts.add("N", Role.VIEWER, "hash", ADMIN, T0)
        with pytest.raises(Permanent):
            worklist.accounts.add("n", Role.VIEWER, "hash", ADMIN, T0)
        account = worklist.accounts.find("N")
        assert account is not None
        secret = worklist.accounts.open_session(account.number, "192.0.2.7", T0, LASTS)
        assert session(worklist, secret, timedelta()) is not None
        for _ in range(2):
            actor = Actor("N", "192.0.2.7", "1")
            worklist.audit.record(actor, Deed.STUDY, T0, study_uid="1.7.1")
        assert [e.what for e in worklist.audit.entries("1.7.1")] == [Deed.STUDY]
