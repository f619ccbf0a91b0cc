"""In which order cases are worked on: what is suspected leaves before anything else is read."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from node.states import Priority, State
from node.worklist.running.leases import is_free
from node.worklist.schema.tables import case, series, study
from node.worklist.studies.chains import WITHDRAWS
from node.worklist.studies.rows import READ_ELSEWHERE

UNREAD_WAITS = timedelta(seconds=10)
"""Undecided cases go before unread ones, since to decide is cheap. Once an unread case has waited
this long, both go in the order of the worklist: otherwise studies that keep coming in would keep
the networks idle. An estimate: about the time of two readings."""
REPORT_WAITS = timedelta(minutes=5)
"""The report of what was not suspected waits at most this long for unread studies; then it is made
before the next one is read. An estimate: its flag stands in the worklist already, and few bursts
take longer to read."""

_waiting, _waiting_series = case.alias("waiting"), series.alias("waiting_series")


def by_urgency(now: datetime) -> tuple[sa.ColumnElement[Any], ...]:
    """Return the order in which cases that are due are claimed; for a query of case, series, study.

    Withdrawals come first: what was sent in error is believed until then. Prior studies come last.
    Before them come studies whose last image came `READ_ELSEWHERE` ago or
    earlier; a replay can have such. The others go by `_rank`, then in the order of the worklist:
    the study that came first goes first.
    """
    old = series.c.last_received_at <= now - READ_ELSEWHERE
    return (
        ~WITHDRAWS,
        case.c.prior,
        old,
        _rank(now),
        study.c.first_received_at,
        case.c.due_at,
        case.c.id,
    )


def _rank(now: datetime) -> sa.ColumnElement[int]:
    """Return a number that is low where a case is urgent.

    The report of a suspected study comes first; then that of one that is uncertain or was not
    analysed, since a person must look at it. Undecided and unread studies follow. The reports of
    studies that were not suspected come last.
    """
    reports = case.c.state.in_((State.TRIAGED, State.NOT_ANALYSED))
    must_look = sa.or_(case.c.uncertain, case.c.state == State.NOT_ANALYSED)
    unread_waits = sa.exists().where(
        _waiting.c.state == State.ASSEMBLED,
        _waiting.c.due_at <= now - UNREAD_WAITS,
        is_free(_waiting, now),
        ~_waiting.c.prior,
        _waiting_series.c.series_instance_uid == _waiting.c.series_instance_uid,
        _waiting_series.c.last_received_at > now - READ_ELSEWHERE,
    )
    return sa.case(
        (sa.and_(reports, case.c.priority == Priority.SUSPECTED), 0),
        (sa.and_(reports, must_look), 1),
        (sa.and_(case.c.state == State.RECEIVING, ~unread_waits), 2),
        (sa.and_(reports, case.c.due_at > now - REPORT_WAITS), 4),
        else_=3,
    )
