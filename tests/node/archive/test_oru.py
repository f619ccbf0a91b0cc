"""Reports that arrive as HL7 ORU^R01."""

import pytest

from node.archive.labels import Report, reports_of
from node.hl7 import Malformed, Received, moment
from node.reported import ReportStatus


def message(*segments: str, kind: str = "ORU^R01") -> Received:
    head = rf"MSH|^~\&|RIS|H|X|X|20250131||{kind}|1|P|2.5|||||||UNICODE UTF-8"
    return Received.of("\r".join((head, "PID|1||P7^^^H^MR||Doe^Jane", *segments)).encode())


def obr(*, placer: str = "", filler: str = "", field_18: str = "", status: str = "F") -> str:
    fields = {2: placer, 3: filler, 4: "CTH^CT HEAD", 18: field_18, 25: status}
    return "|".join(("OBR", *(fields.get(number, "") for number in range(1, 26))))


def obx(text: str, *, kind: str = "TX", code: str = "CTH^CT HEAD", status: str = "F") -> str:
    return f"OBX|1|{kind}|{code}|1|{text}||||||{status}"


def test_a_final_report_has_its_number_its_patient_and_its_lines() -> None:
    received = message(
        obr(placer="O1", filler="F1", field_18="A1"),
        obx("FINDINGS: No fracture."),
        obx(""),
        obx(r"IMPRESSION:\.br\Acute SDH \T\ SAH.~Discussed."),
    )
    assert reports_of(received) == [
        Report(
            "A1",
            "P7",
            "",
            "CT HEAD:\nFINDINGS: No fracture.\n\nIMPRESSION:\nAcute SDH & SAH.\nDiscussed.",
            ReportStatus.FINAL,
            moment("20250131"),
        )
    ]


@pytest.mark.parametrize(
    ("request_", "accession"),
    [
        (obr(placer="O", filler="F^RIS", field_18="A"), "A"),
        (obr(placer="O", filler="F^RIS"), "F"),
        (obr(placer="O", field_18='""'), "O"),
    ],
)
def test_the_accession_number_is_the_first_that_is_there(request_: str, accession: str) -> None:
    (report,) = reports_of(message(request_, obx("No bleed.")))
    assert report.accession == accession


def test_a_hospital_says_where_its_accession_number_is() -> None:
    received = message(obr(placer="O", filler="F", field_18="A"), obx("No bleed."))
    assert reports_of(received, ("OBR-2",))[0].accession == "O"


@pytest.mark.parametrize(
    ("status", "observations", "said"),
    [
        ("F", "P", ReportStatus.FINAL),
        ("C", "F", ReportStatus.CORRECTED),
        ("P", "F", ReportStatus.PRELIMINARY),
        ("", "F", ReportStatus.FINAL),
        ("", "C", ReportStatus.CORRECTED),
        ("", "P", ReportStatus.PRELIMINARY),
        ("X", "F", ReportStatus.PRELIMINARY),
    ],
)
def test_final_is_what_the_request_says_or_each_observation(
    status: str, observations: str, said: ReportStatus
) -> None:
    received = message(obr(filler="F", status=status), obx("No bleed.", status=observations))
    assert reports_of(received)[0].status is said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("20260115093000.123+0200", "2026-01-15T07:30:00+00:00"),
        ("202601150930+0000", "2026-01-15T09:30:00+00:00"),
        ("2026", None),
        ("20261315", None),
        ("", None),
    ],
)
def test_a_time_is_read_with_its_zone_and_to_the_day_at_least(text: str, said: str | None) -> None:
    found = moment(text)
    assert (found and found.isoformat()) == said


def test_what_was_taken_back_and_what_is_no_text_is_left_out() -> None:
    received = message(
        obr(filler="F"),
        obx("Acute SDH.", status="W"),
        obx("JVBERi0=", kind="ED"),
        obx("No hemorrhage."),
        obx("^No hemorrhage, coded", kind="CE", code="CTH&IMP^CT HEAD"),
    )
    (report,) = reports_of(received)
    assert "SDH" not in report.text and "JVBER" not in report.text
    assert report.text.endswith("IMPRESSION:\nNo hemorrhage, coded")


def test_examinations_that_share_a_report_each_get_it() -> None:
    received = message(obr(filler="F1"), obr(filler="F2"), obx("No bleed."))
    assert [(each.accession, each.text[-9:]) for each in reports_of(received)] == [
        ("F1", "No bleed."),
        ("F2", "No bleed."),
    ]


def test_each_examination_keeps_its_own_report_where_each_has_one() -> None:
    received = message(obr(filler="F1"), obx("No bleed."), obr(filler="F2"), obx("Acute SDH."))
    assert [each.text[-9:] for each in reports_of(received)] == ["No bleed.", "cute SDH."]


@pytest.mark.parametrize(
    ("received", "said"),
    [
        (message(obr(filler="F"), kind="ADT^A08"), "no ORU"),
        (message(), "no OBR"),
        (message(obr(), obx("No bleed.")), "without an accession number in OBR-18, OBR-3, OBR-2"),
    ],
)
def test_a_message_that_is_no_report_says_why(received: Received, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        reports_of(received)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a^b&c", "a^b&c"),
        (r"a\F\b\S\c\R\d\E\e", r"a|b^c~d\e"),
        (r"\H\bold\N\.", "bold."),
        (r"\X41\\X0D0A\b", "A\r\nb"),
        (r"one\.sp2\two\.in+4\three", "one\ntwothree"),
        (r"a\Zno\b", r"a\Zno\b"),
        ("one~two", "one\ntwo"),
    ],
)
def test_free_text_keeps_what_no_escape_says(raw: str, text: str) -> None:
    assert message().free_text(raw) == text
