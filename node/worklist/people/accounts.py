"""Who may sign in, and who is signed in.

Accounts are never deleted, since the audit trail and feedback name them; a disabled one signs in no
more. A session is kept by the digest of its secret, so that the database lets nobody in.
"""

import hashlib
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from node.errors import Permanent
from node.worklist.schema.columns import Deed, Role
from node.worklist.schema.database import Clash, Database
from node.worklist.schema.people_tables import account, session
from node.worklist.trail.audit import Actor, recorded

SEEN_EVERY = timedelta(seconds=30)
"""How exactly it is noted when a session was last used."""
LONGEST_NAME = 64


class NoAccount(Permanent):
    """There is no account of that name."""


class BadName(Permanent):
    """An account cannot have that name; the message says why."""


@dataclass(frozen=True, slots=True)
class Account:
    """One person.

    Attributes
    ----------
    password_hash
        None of a person who signs in through the identity provider `issuer`.
    """

    number: int
    name: str
    role: Role
    password_hash: str | None
    issuer: str | None
    created_at: datetime
    disabled_at: datetime | None

    def to_json(self) -> dict[str, Any]:
        """Return the account without its secrets."""
        return {
            "name": self.name,
            "role": self.role,
            "issuer": self.issuer,
            "created_at": self.created_at.isoformat(),
            "disabled_at": self.disabled_at and self.disabled_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in that stands."""

    digest: str
    name: str
    role: Role
    csrf: str
    seen_at: datetime
    expires_at: datetime


class Accounts:
    """The worklist as those see it who let people in. Each change adds to the audit trail."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def exist(self) -> bool:
        """Return whether there is any account, disabled or not."""
        with self._database.read() as db:
            return db.execute(sa.select(account.c.id).limit(1)).first() is not None

    def listed(self) -> list[Account]:
        """Return all accounts by name."""
        with self._database.read() as db:
            rows = db.execute(sa.select(account).order_by(account.c.login)).all()
        return [_account(row) for row in rows]

    def find(self, name: str) -> Account | None:
        """Return the account that a person means by a name, however it is capitalised."""
        query = sa.select(account).where(account.c.login == login(name))
        with self._database.read() as db:
            row = db.execute(query).first()
        return None if row is None else _account(row)

    def add(self, name: str, role: Role, password_hash: str, by: Actor, now: datetime) -> None:
        """Make an account.

        Raises
        ------
        BadName
            If the name is taken, empty, too long, or has characters that do not show.
        """
        name = _named(name)
        line = {"name": name, "login": login(name), "role": role, "created_at": now}
        try:
            with self._database.write() as db:
                db.execute(account.insert(), line | {"password_hash": password_hash})
                _note(db, by, f"{name}: added as {role}", now)
        except Clash as error:
            raise BadName(f"there is an account {name!r} already") from error

    def vouched(
        self, issuer: str, subject: str, name: str, role: Role, by: Actor, now: datetime
    ) -> Account:
        """Return the account of a person whom an identity provider names; make it the first time.

        The role is the one that the provider gives now. A name that another account has is
        followed by the provider's: nobody gets the account of another by a name.

        Raises
        ------
        BadName
            If no account can have the name.
        """
        mine = (account.c.issuer == issuer) & (account.c.subject == subject)
        query = sa.select(account).where(mine)
        with self._database.write() as db:
            row = db.execute(query).first()
            if row is None:
                shown = _free(db, _named(name), issuer)
                line = {"name": shown, "login": login(shown), "role": role, "created_at": now}
                db.execute(account.insert(), line | {"issuer": issuer, "subject": subject})
                _note(db, by, f"{shown}: added as {role} by {issuer}", now)
            elif row.role is not role:
                db.execute(account.update().where(mine).values(role=role))
                _note(db, by, f"{row.name}: role {role} by {issuer}", now)
            return _account(db.execute(query).one())

    def set_role(self, name: str, role: Role, by: Actor, now: datetime) -> None:
        """Give an account another role, also to those of its sessions that stand."""
        self._change(name, {"role": role}, f"role {role}", by, now)

    def set_password(self, name: str, password_hash: str, by: Actor, now: datetime) -> None:
        """Give an account another password, and end its sessions."""
        found = self.find(name)
        if found is not None and found.issuer is not None:
            raise Permanent(f"{found.name} signs in at {found.issuer} and has no password here")
        self._change(name, {"password_hash": password_hash}, "password", by, now, ends=True)

    def disable(self, name: str, by: Actor, now: datetime) -> None:
        """Let a person sign in no more, and end their sessions."""
        self._change(name, {"disabled_at": now}, "disabled", by, now, ends=True)

    def enable(self, name: str, by: Actor, now: datetime) -> None:
        """Let a person whose account was disabled sign in again."""
        self._change(name, {"disabled_at": None}, "enabled", by, now)

    def _change(
        self,
        name: str,
        values: dict[str, object],
        words: str,
        by: Actor,
        now: datetime,
        *,
        ends: bool = False,
    ) -> None:
        with self._database.write() as db:
            row = db.execute(sa.select(account).where(account.c.login == login(name))).first()
            if row is None:
                raise NoAccount(f"there is no account {name!r}: `ichnode user list`")
            db.execute(account.update().where(account.c.id == row.id).values(values))
            if ends:
                db.execute(session.delete().where(session.c.account_id == row.id))
            _note(db, by, f"{row.name}: {words}", now)

    # --- sessions ---------------------------------------------------------------------------------

    def open_session(self, number: int, address: str, now: datetime, lasts: timedelta) -> str:
        """Sign an account in for `lasts` at the longest; return the session's secret."""
        secret, line = secrets.token_urlsafe(32), {"account_id": number, "created_at": now}
        line |= {"digest": digest(secret), "csrf": secrets.token_urlsafe(32)}
        with self._database.write() as db:
            name = db.execute(sa.select(account.c.name).where(account.c.id == number)).scalar_one()
            db.execute(session.delete().where(session.c.expires_at <= now))
            db.execute(session.insert(), line | {"seen_at": now, "expires_at": now + lasts})
            recorded(db, Actor(name, address, digest(secret)), Deed.SIGNED_IN, now)
        return secret

    def session(self, secret: str, now: datetime, idle: timedelta) -> Session | None:
        """Return the session of a secret; None if it has ended or its account is disabled."""
        query = (
            sa.select(session, account.c.name, account.c.role)
            .join(account, account.c.id == session.c.account_id)
            .where(session.c.digest == digest(secret), account.c.disabled_at.is_(None))
            .where(session.c.expires_at > now, session.c.seen_at > now - idle)
        )
        with self._database.read() as db:
            row = db.execute(query).first()
        if row is None:
            return None
        return Session(row.digest, row.name, row.role, row.csrf, row.seen_at, row.expires_at)

    def seen(self, found: Session, now: datetime) -> None:
        """Note that a session is in use, about every `SEEN_EVERY`."""
        if now - found.seen_at < SEEN_EVERY:
            return
        with self._database.write() as db:
            db.execute(session.update().where(session.c.digest == found.digest).values(seen_at=now))

    def close_session(self, found: Session, address: str, now: datetime) -> None:
        """Sign out."""
        with self._database.write() as db:
            db.execute(session.delete().where(session.c.digest == found.digest))
            recorded(db, Actor(found.name, address, found.digest), Deed.SIGNED_OUT, now)


def login(name: str) -> str:
    """Return what two names have in common that mean one account."""
    return unicodedata.normalize("NFKC", name.strip()).casefold()


def digest(secret: str) -> str:
    """Return what is kept of a session's secret, which has 256 random bits: SHA-256, in hex."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _named(name: str) -> str:
    name = unicodedata.normalize("NFC", name.strip())
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise BadName(f"a name has 1 to {LONGEST_NAME} characters, all of which show")
    return name


def _free(db: sa.Connection, name: str, issuer: str) -> str:
    host = issuer.partition("://")[2].partition("/")[0]
    for shown in (name, f"{name} ({host})"):
        taken = sa.select(account.c.id).where(account.c.login == login(shown))
        if db.execute(taken).first() is None:
            return shown
    raise BadName(f"there is an account {name!r} already")


def _note(db: sa.Connection, by: Actor, about: str, now: datetime) -> None:
    recorded(db, by, Deed.ACCOUNT, now, about=about)


def _account(row: sa.Row[Any]) -> Account:
    return Account(
        row.id,
        row.name,
        row.role,
        row.password_hash,
        row.issuer,
        row.created_at,
        row.disabled_at,
    )
