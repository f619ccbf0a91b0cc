"""The worklist in a terminal."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console

from node.cli.commands.quarantine import numbers
from node.cli.commands.worklist import moment
from node.cli.console.analysed import summary
from node.cli.console.quarantine import quarantine_table
from node.cli.console.terminal import outside, terminal
from node.cli.console.worklist import on_one_screen, worklist_table
from node.errors import BadConfiguration, Permanent
from node.records import StoredObject
from node.states import Priority
from node.worklist import Decision, Quarantined
from tests.support import ROOT
from tests.support.rows import row


def test_an_uncertain_study_says_so_beside_its_priority() -> None:
    rows = [
        row(n, Priority.NOT_SUSPECTED, probability=0.1, uncertain=uncertain)
        for n, uncertain in enumerate((True, False))
    ]
    written = StringIO()
    Console(file=written, width=120).print(worklist_table(rows))
    assert written.getvalue().count("○ NOT SUSPECTED") == 2
    assert written.getvalue().count("? UNCERTAIN") == 1


def test_a_prior_study_says_so_beside_its_priority() -> None:
    written = StringIO()
    rows = [row(n, Priority.SUSPECTED, probability=0.9, prior=bool(n)) for n in range(2)]
    Console(file=written, width=120).print(worklist_table(rows))
    assert written.getvalue().count("▲ SUSPECTED") == 2
    assert len(re.findall(r"\bprior\b", written.getvalue())) == 1


def test_a_study_with_objects_set_aside_says_how_many() -> None:
    written = StringIO()
    suspected = row(1, Priority.SUSPECTED, probability=0.9)
    rows = [suspected, replace(suspected, quarantined=3)]
    Console(file=written, width=120).print(worklist_table(rows))
    assert written.getvalue().count("3 set aside") == written.getvalue().count("set aside") == 1


def entry(number: int, reason: str = "not the study's PatientID", **values: object) -> Quarantined:
    plain = {
        "at": datetime(2026, 11, 20, 3, 15, tzinfo=UTC),
        "stored": StoredObject("x", "y", 9),
        "code": "MIXED_IDENTITY",
        "reason": reason,
        "caller": "CT1",
        "study_instance_uid": "1.7.1",
        "sop_instance_uid": "1.9.1",
        **dict.fromkeys(("decision", "decided_at", "decided_by", "why")),
    }
    return Quarantined(number, **{**plain, **values})  # type: ignore[arg-type]


def test_objects_set_aside_alike_are_one_line_with_their_numbers() -> None:
    discarded = {
        "decision": Decision.DISCARDED,
        "decided_at": datetime(2026, 11, 20, 8, tzinfo=UTC),
        "decided_by": "admin",
        "why": "phantom",
    }
    entries = [
        *(entry(n) for n in (1, 2, 3)),
        entry(4, "not the study's PatientBirthDate", caller="CT2"),
        entry(5, "other bytes, abc", code="CHANGED"),
        entry(6, **discarded),
        entry(7, "other bytes, def", code="CHANGED"),
        entry(9),
    ]
    written = StringIO()
    Console(file=written, width=200).print(quarantine_table(entries))
    rows = [re.split(r"\s*│\s*", line)[1:2] for line in written.getvalue().splitlines()]
    assert [row[0] for row in rows if row and row[0]] == ["1-3, 9", "4", "5, 7", "6"]
    for said in ("other bytes, abc (others differ)", "DISCARDED by admin", "phantom"):
        assert said in " ".join(written.getvalue().split())


def test_the_list_fits_80_columns_and_names_the_patient() -> None:
    digest, study = (
        "0123456789ab" + 52 * "c",
        "1.2.826.0.1.3680043.8.498.57500000000000000000000001",
    )
    long = entry(
        12,
        f"other bytes under a known SOPInstanceUID of {study}, first seen with sha256 {digest}",
        code="CANNOT_UNDERSTAND",
        caller="SCANNER_ROOM_12A",
        patient_id="ICH12345678",
        accession_number="A1234567",
    )
    text = printed(quarantine_table([long]), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "ICH12345678" in text and "A1234567" in text and "CANNOT_UNDERSTAND" in text
    assert digest not in text and study not in text


def test_as_many_studies_are_watched_as_fit_the_screen() -> None:
    rows = [row(n, Priority.PENDING) for n in range(200)]
    console = Console(file=StringIO(), width=100, height=24)
    table = on_one_screen(rows, console)
    assert 1 <= table.row_count < 24
    assert table.caption == f"and {200 - table.row_count} more"
    assert len(console.render_lines(table)) <= 24
    assert on_one_screen(rows[:1], console).caption is None


NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago_s"), [("30m", 1800), ("2h", 7200), (" 3d ", 3 * 86400), ("0h", 0)]
)
def test_a_span_of_time_ends_now(text: str, ago_s: float) -> None:
    assert (NOW - moment(text, NOW)).total_seconds() == ago_s


@pytest.mark.parametrize("text", ["2026-11-28", "2026-11-28 08:30", "2026-11-28T08:30:00+01:00"])
def test_a_date_is_by_this_machines_clock(text: str) -> None:
    found = moment(text, NOW)
    assert found.tzinfo is not None and found.year == 2026 and found.day in (27, 28)


@pytest.mark.parametrize("text", ["yesterday", "2 hours", "-1h", "2026-13-01", "99999999h"])
def test_what_is_no_time_says_how_to_write_one(text: str) -> None:
    with pytest.raises(BadConfiguration, match="write it as"):
        moment(text, NOW)


@pytest.mark.parametrize(
    ("groups", "found"),
    [(["7"], [7]), (["2-4"], [2, 3, 4]), (["2-3,", "9"], [2, 3, 9]), ([], [])],
)
def test_numbers_are_taken_as_the_list_writes_them(groups: list[str], found: list[int]) -> None:
    assert numbers(groups) == found


@pytest.mark.parametrize("text", ["4-2", "x", "1-", "1-999999", "-3"])
def test_what_is_no_number_and_no_group_is_refused(text: str) -> None:
    with pytest.raises(Permanent, match="group"):
        numbers([text])


def test_one_studys_summary_says_that_it_is_uncertain_and_by_how_much() -> None:
    study = row(1, Priority.NOT_SUSPECTED, probability=0.1, uncertain=True).to_json()
    study |= {"mimics": ["the region may be calcium"]}
    assert "may look like blood: the region may be calcium" in summary(study)
    assert "UNCERTAIN: the networks disagree" in summary(study)
    assert "(0.31)" in summary(study)
    assert "UNCERTAIN" not in summary(study | {"uncertain": False})


def test_one_studys_summary_names_its_limitations() -> None:
    study = row(1, Priority.NOT_SUSPECTED, probability=0.1).to_json() | {"mimics": []}
    told = summary(study | {"limitations": ["gantry tilt 18.5 degrees", "x\x1b[2J\n"]})
    assert told.endswith("\n  limitation: gantry tilt 18.5 degrees\n  limitation: x␛[2J␊")


# --- what a peer sent is text ---

HOSTILE = [
    "P[i]8",
    "P[/z]",
    "[bold red]P[/]",
    "P[link=http://x]y",
    "\\[P]",
    ":bomb:P:x:",
    "[/]",
    "P[",
]


def printed(thing: object, width: int = 250) -> str:
    written = StringIO()
    Console(file=written, width=width, color_system="truecolor", force_terminal=True).print(thing)
    return re.sub(r"\x1b\[[0-9;]*m", "", written.getvalue())


@pytest.mark.parametrize("sent", HOSTILE)
def test_markup_in_what_a_peer_sent_is_shown_as_sent(sent: str) -> None:
    hostile = replace(row(1, reason=f"r{sent}"), patient_id=sent, accession_number=f"a{sent}")
    for shown in (sent, f"r{sent}", f"a{sent}"):
        assert shown in printed(worklist_table([hostile, row(2)]))
    aside = entry(1, f"r{sent}", caller=sent, patient_id=f"1{sent}", why=f"w{sent}")
    for shown in (sent, f"r{sent}", f"1{sent}"):
        assert shown in printed(quarantine_table([aside]))
    assert outside(sent).plain == sent


@pytest.mark.parametrize("sent", ["P\x1b[2J", "P\r8", "P\n8", "P\u202e8", "P\x9b8", "P\x078"])
def test_controls_in_what_a_peer_sent_reach_no_terminal(sent: str) -> None:
    hostile = replace(row(1, reason=sent), patient_id=sent, accession_number=sent)
    pages = [
        printed(worklist_table([hostile])),
        printed(quarantine_table([entry(1, sent, caller=sent, study_instance_uid=sent)])),
        summary(hostile.to_json() | {"mimics": [sent]}),
    ]
    for page in pages:
        assert not set(page) & set("\x1b\r\x07\x9b\u202e")
        assert "P␊8" in page or "P\n8" not in sent


def test_a_worklist_in_a_narrow_terminal_still_shows_whole_identifiers() -> None:
    wide = replace(row(1, Priority.SUSPECTED, reason="x" * 200), patient_id="0123456789" * 4)
    page = printed(worklist_table([wide]), width=80)
    cells = [re.split(r"\s*│\s*", line)[3] for line in page.splitlines() if line.count("│") > 7]
    assert "0123456789" * 4 in "".join(cells) and "…" not in page


def test_commands_print_through_one_console() -> None:
    found = [p for p in sorted((ROOT / "node").rglob("*.py")) if "Console(" in p.read_text()]
    assert found == [ROOT / "node/cli/console/terminal.py"]
    assert terminal().render_str("P[i]8 :bomb:").plain == "P[i]8 :bomb:"
