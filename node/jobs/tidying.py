"""Removes the files of studies that a rule, or a person, no longer keeps.

A study's purge is decided and noted before its first file goes (`node.worklist.Retention`). What a
crash leaves undone is done at the next run.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from node.arrive.quarantine import delete_settled
from node.arrive.spool import StoredBytes
from node.depot import depot_of
from node.dicom.archive.metadata import KeptMetadata
from node.disk import room_of
from node.log import event
from node.settings import Rule, Settings
from node.worklist import Actor, Kept, Purge, Retention

logger = logging.getLogger(__name__)

BY_RULE = Actor("ichnode", "rule")


class Tidying:
    """Applies the rules of retention.

    Parameters
    ----------
    free_mb
        Returns the free space, MiB; None: that of the data folder's disk.
    stopping
        Whether to end after the study in hand.
    """

    def __init__(
        self,
        settings: Settings,
        retention: Retention,
        clock: Callable[[], datetime],
        free_mb: Callable[[], int] | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings
        self._retention = retention
        self._clock = clock
        self._free_mb = free_mb or (lambda: room_of(settings.data_dir).free_mb)
        self._stopping = stopping

    def by_rules(self, *, when_short: bool = False) -> int:
        """Purge what no rule keeps; return how many studies.

        Parameters
        ----------
        when_short
            Only by the rules that wait for a full disk.
        """
        self.go_on()
        rules = self._settings.retention.rules
        done = sum(self._by(rule) for rule in rules if rule.below_free_mb or not when_short)
        if not when_short:
            self._forget_decided()
        return done

    def go_on(self) -> None:
        """Remove the files of purges that were decided and not done."""
        for one in self._retention.under_way():
            self.remove(one)

    def remove(self, one: Purge) -> None:
        """Remove the files of a purge, and note that they are gone."""
        depot = depot_of(self._settings)
        place: int | None = 0
        while place is not None:
            place = self._retention.remove(one, StoredBytes(depot).delete, place)
        for folder in self._retention.folders(one):
            depot.drop_folder(folder)
        metadata = KeptMetadata(depot.root)
        for series in one.series:
            metadata.forget(series)
        self._retention.done(one, self._clock())
        say = event("purged", objects=one.objects, mb=one.size >> 20, results=one.results)
        logger.info("purged", extra=say)

    def _forget_decided(self) -> None:
        """Remove bytes that people decided not to file, once `retention.decided_days` are over."""
        days = self._settings.retention.decided_days
        if not days:
            return
        stored_bytes, now = StoredBytes(depot_of(self._settings)), self._clock()
        before, words = now - timedelta(days=days), f"decided {days:g} days ago"
        for path in self._retention.spent(before, now):
            if self._stopping():
                return
            unlink = partial(delete_settled, stored_bytes, now=now)
            if self._retention.forget(path, BY_RULE, words, before, now, unlink):
                logger.info("quarantined bytes deleted", extra=event("forgotten"))

    def _by(self, rule: Rule) -> int:
        done = 0
        results, words = rule.remove == "all", _words(rule)
        now = self._clock()
        before = now - timedelta(days=rule.after_days)
        for study_uid in self._retention.all_old(before, now, results=results):
            if self._stopping() or (rule.below_free_mb and self._free_mb() >= rule.below_free_mb):
                break
            if not _is_for(rule, self._kept(study_uid, results)):
                continue
            one = self._retention.decide(
                study_uid,
                BY_RULE,
                words,
                self._clock(),
                results=results,
                unacknowledged=self._unacknowledged,
            )
            if one is not None:
                self.remove(one)
                done += 1
        return done

    def _kept(self, study_uid: str, results: bool) -> Kept:
        return self._retention.kept(
            study_uid, results=results, unacknowledged=self._unacknowledged, now=self._clock()
        )

    @property
    def _unacknowledged(self) -> timedelta:
        return timedelta(days=self._settings.retention.unacknowledged_days)


def _is_for(rule: Rule, found: Kept) -> bool:
    if found.why:
        return False
    by_priority = not rule.priorities or found.row.priority in rule.priorities
    return by_priority and (not rule.states or found.row.state in rule.states)


def _words(rule: Rule) -> str:
    short = f", below {rule.below_free_mb} MB free" if rule.below_free_mb else ""
    return f"{rule.remove} after {rule.after_days:g} days{short}"
