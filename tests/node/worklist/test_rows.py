"""How the worklist shows a study, and in which order; pure functions."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.states import Priority, State
from node.worklist.studies.rows import HEAD_START, READ_ELSEWHERE, Row, in_order, speaking_for_study
from tests.support.rows import MINUTE, NOW, row

HOUR = timedelta(hours=1)
TOP = HEAD_START[Priority.SUSPECTED]


SUSPECTED = row(1, Priority.SUSPECTED, probability=0.8)
NEGATIVE = row(2, Priority.NOT_SUSPECTED, probability=0.1)
UNCERTAIN = row(7, Priority.NOT_SUSPECTED, probability=0.05, uncertain=True)
RECEIVING = row(3, Priority.PENDING, State.RECEIVING)
NOT_ANALYSED = row(4, Priority.NOT_ANALYSED, State.NOT_ANALYSED, reason="contrast")
FAILED = row(5, Priority.NOT_ANALYSED, State.FAILED, reason="disk full")
SKIPPED = row(6, Priority.NOT_ANALYSED, State.SKIPPED, reason="a localiser")


def loud(row: Row) -> bool:
    return row.uncertain or row.priority in (Priority.SUSPECTED, Priority.NOT_ANALYSED)


def read_one(case_id: int) -> Row:
    """A study that somebody acknowledged: readings are noted here, so old ones are not read."""
    return row(case_id, Priority.NOT_SUSPECTED, acknowledged=True)


@st.composite
def studies(draw: st.DrawFn) -> list[Row]:
    """Studies of some days that nobody has acknowledged, many of them at the limits of ageing."""
    hours = st.sampled_from([0, 4, 20, 24, 28]).map(lambda hours: 3600 * hours)
    waits = draw(st.lists(st.one_of(hours, st.integers(0, 200_000)), max_size=30))
    rows = []
    for number, wait in enumerate(waits):
        priority = draw(st.sampled_from(Priority))
        read = priority in (Priority.SUSPECTED, Priority.NOT_SUSPECTED)
        uncertain = read and draw(st.booleans())
        rows.append(row(number, priority, waited=timedelta(seconds=wait), uncertain=uncertain))
    return rows


class TestPriority:
    @pytest.mark.parametrize(
        ("cases", "speaks"),
        [
            ([NEGATIVE, RECEIVING, FAILED, SUSPECTED], SUSPECTED),
            ([SUSPECTED, replace(SUSPECTED, case_id=9, probability=0.9)], 9),
            ([NEGATIVE, UNCERTAIN, RECEIVING, FAILED, SUSPECTED], SUSPECTED),
            ([NEGATIVE, FAILED, RECEIVING, UNCERTAIN], UNCERTAIN),
            ([NEGATIVE, FAILED, RECEIVING], RECEIVING),
            ([NEGATIVE, FAILED, NOT_ANALYSED], FAILED),
            ([SKIPPED, NOT_ANALYSED, NEGATIVE], NEGATIVE),
            ([SKIPPED, NOT_ANALYSED], NOT_ANALYSED),
            ([SKIPPED], SKIPPED),
        ],
    )
    def test_the_series_that_matters_most_speaks_for_its_study(
        self, cases: list[Row], speaks: Row | int
    ) -> None:
        expected = speaks if isinstance(speaks, int) else speaks.case_id
        assert speaking_for_study(cases).case_id == expected

    @pytest.mark.parametrize("read", [Priority.NOT_SUSPECTED, Priority.PENDING])
    def test_a_failure_never_reads_as_a_negative(self, read: Priority) -> None:
        failed = row(1, read, State.FAILED, probability=0.1, reason="disk full")
        shown = speaking_for_study([failed])
        assert (shown.priority, shown.reason) == (Priority.NOT_ANALYSED, "disk full")

    def test_a_suspicion_whose_report_failed_stays_a_suspicion(self) -> None:
        failed = row(1, Priority.SUSPECTED, State.FAILED, probability=0.9, reason="disk full")
        assert speaking_for_study([failed]).priority is Priority.SUSPECTED

    @pytest.mark.parametrize("newer", [RECEIVING, NOT_ANALYSED, FAILED, SKIPPED])
    def test_late_slices_do_not_lower_a_suspicion_until_they_are_read(self, newer: Row) -> None:
        newest = replace(newer, case_id=8, supersedes=7)
        between = row(7, Priority.PENDING, State.RECEIVING, supersedes=1)
        shown = speaking_for_study([SUSPECTED, between, newest])
        assert (shown.priority, shown.case_id, shown.reason) == (
            Priority.SUSPECTED,
            1,
            newest.reason,
        )

    def test_late_slices_that_were_read_replace_the_result(self) -> None:
        shown = speaking_for_study([SUSPECTED, replace(NEGATIVE, supersedes=1)])
        assert shown.priority is Priority.NOT_SUSPECTED

    def test_a_suspicion_that_a_reading_took_back_is_not_shown_again(self) -> None:
        taken_back = replace(NEGATIVE, supersedes=1)
        waiting = replace(RECEIVING, supersedes=2)
        assert speaking_for_study([SUSPECTED, taken_back, waiting]).priority is Priority.PENDING

    def test_late_slices_make_a_negative_pending(self) -> None:
        shown = speaking_for_study([NEGATIVE, replace(RECEIVING, supersedes=2)])
        assert shown.priority is Priority.PENDING


class TestOrder:
    def test_priors_stand_in_their_own_order_behind_all_current_studies(self) -> None:
        rows = [
            row(1, Priority.SUSPECTED, waited=3 * HOUR, prior=True),
            row(2, Priority.NOT_ANALYSED, waited=4 * HOUR, prior=True),
            row(3, Priority.NOT_SUSPECTED, waited=MINUTE),
            row(4, Priority.PENDING, waited=MINUTE),
            row(5, Priority.NOT_SUSPECTED, waited=5 * HOUR, prior=True),
            read_one(6),
        ]
        assert [r.case_id for r in in_order(rows, NOW)] == [4, 3, 6, 2, 1, 5]

    @given(studies())
    def test_no_prior_ever_stands_above_a_current_study(self, rows: list[Row]) -> None:
        mixed = [replace(r, prior=r.case_id % 3 == 0) for r in rows]
        for shown in (in_order(mixed, NOW), in_order([*mixed, read_one(len(mixed))], NOW)):
            priors = [r.prior for r in shown]
            assert priors == sorted(priors)

    def test_priorities_stand_in_their_order_and_the_longest_wait_first(self) -> None:
        rows = [
            row(1, Priority.NOT_SUSPECTED, waited=2 * HOUR),
            row(2, Priority.NOT_SUSPECTED, waited=3 * HOUR),
            row(3, Priority.PENDING, waited=MINUTE),
            row(4, Priority.NOT_ANALYSED, waited=2 * MINUTE),
            row(5, Priority.SUSPECTED, waited=MINUTE),
            row(6, Priority.SUSPECTED, waited=3 * MINUTE),
        ]
        assert [r.case_id for r in in_order(rows, NOW)] == [6, 4, 5, 3, 2, 1]

    def test_a_study_that_nobody_reads_ages_past_new_bleeds_where_readings_are_noted(
        self,
    ) -> None:
        forgotten = row(1, Priority.NOT_SUSPECTED, waited=TOP + HOUR)
        bleed = row(2, Priority.SUSPECTED, waited=MINUTE)
        done = row(3, Priority.SUSPECTED, acknowledged=True)
        assert [r.case_id for r in in_order([bleed, done, forgotten], NOW)] == [1, 2, 3]

    def test_where_nobody_notes_readings_old_studies_count_as_read(self) -> None:
        old = row(1, Priority.SUSPECTED, waited=READ_ELSEWHERE + HOUR)
        older = row(2, Priority.NOT_SUSPECTED, waited=READ_ELSEWHERE + 2 * HOUR)
        new = row(3, Priority.NOT_SUSPECTED)
        assert [r.case_id for r in in_order([older, old, new], NOW)] == [3, 1, 2]

    @given(studies())
    def test_without_readings_nothing_undecided_or_negative_stands_above_what_is_loud(
        self, rows: list[Row]
    ) -> None:
        shown = in_order(rows, NOW)
        assert sorted(r.case_id for r in shown) == list(range(len(rows)))
        today = [loud(r) for r in shown if NOW - r.first_received_at < READ_ELSEWHERE]
        assert today == sorted(today, reverse=True)

    @given(studies())
    def test_an_uncertain_study_ranks_below_no_undecided_one_unless_that_waited_a_day_longer(
        self, rows: list[Row]
    ) -> None:
        shown = in_order([*rows, read_one(len(rows))], NOW)
        for place, uncertain in enumerate(shown):
            if uncertain.uncertain:
                latest = uncertain.first_received_at - READ_ELSEWHERE
                undecided = [r for r in shown[:place] if r.priority is Priority.PENDING]
                assert all(r.first_received_at <= latest for r in undecided)

    @given(studies())
    def test_uncertain_and_not_analysed_studies_stand_in_their_order_of_arrival(
        self, rows: list[Row]
    ) -> None:
        alike = [r for r in rows if r.uncertain or r.priority is Priority.NOT_ANALYSED]
        came = [r.first_received_at for r in in_order([*alike, read_one(len(rows))], NOW)[:-1]]
        assert came == sorted(came)
