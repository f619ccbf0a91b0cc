"""Tables of reports as exports write them, and those that are wrong."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node.archive.labels import Answer, Labelled, label_rows, read_reports, write_labels
from node.errors import Permanent
from tests.support.labelled import labeller

GERMAN = "Auftragsnummer;Befundtext\n1;Kein Nachweis einer Blutung. Größe unverändert.\n"


def labels_of(text: str) -> list[Labelled]:
    return list(label_rows(read_reports(text.encode(), "r.csv").rows, labeller()))


@pytest.mark.parametrize(
    ("codec", "mark", "said"),
    [
        ("utf-8", b"", "utf-8"),
        ("utf-8-sig", b"", "utf-8-sig"),
        ("utf-16", b"", "utf-16"),
        ("utf-16-be", b"\xfe\xff", "utf-16"),
        ("utf-16-le", b"", "utf-16-le"),
        ("utf-16-be", b"", "utf-16-be"),
        ("cp1252", b"", "cp1252"),
        ("utf-32", b"", "utf-32"),
    ],
)
def test_the_encoding_is_told_by_the_rule(codec: str, mark: bytes, said: str) -> None:
    reports = read_reports(mark + GERMAN.encode(codec), "r.csv")
    assert reports.encoding == said
    assert reports.rows[0].text.endswith("Größe unverändert.")


def test_latin_1_is_taken_where_a_byte_means_nothing_in_windows_1252() -> None:
    reports = read_reports(GERMAN.encode("latin-1") + b"2;\x81\n", "r.csv")
    assert reports.encoding == "latin-1" and len(reports.rows) == 2


@pytest.mark.parametrize("begins", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"])
def test_a_workbook_is_told_with_the_remedy(begins: bytes) -> None:
    with pytest.raises(Permanent, match="is a workbook .Excel. and no text: save the table as CSV"):
        read_reports(begins + bytes(range(256)), "reports.xlsx")


@pytest.mark.parametrize("number", ["1.23457E+15", "1,23457E+15", "2E+10"])
def test_a_number_that_a_spreadsheet_rounded_is_no_accession_number(number: str) -> None:
    (found,) = labels_of(f"accession;text\n{number};No bleed.\n")
    assert found.label.answer is Answer.CANNOT_TELL
    assert "export the column as text" in found.problem
    (found,) = labels_of("accession;text\n12E15;No hemorrhage.\n")
    assert found.label.answer is Answer.NONE


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_by_the_names(delimiter: str) -> None:
    rows = [["Accession Number", "Patient ID", "Report"], ["7", "P", "No bleed, no mass; clear."]]
    text = "\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    (row,) = read_reports(text.encode(), "r.csv").rows
    assert (row.accession, row.patient, row.text) == ("7", "P", "No bleed, no mass; clear.")


def test_a_line_that_names_the_delimiter_is_obeyed_and_counted() -> None:
    (row,) = read_reports(b"sep=;\r\naccession;text\r\n7;No bleed\r\n", "r.csv").rows
    assert (row.line, row.accession) == (3, "7")


def test_quoted_line_breaks_stay_and_lines_are_counted_as_an_editor_does() -> None:
    rows = read_reports(b'accession,text\n1,"A\nB\n"\n\n2,C\n', "r.csv").rows
    assert [(row.line, row.text) for row in rows] == [(2, "A\nB"), (6, "C")]


def test_a_column_for_each_section_makes_a_report_with_headings() -> None:
    (found,) = labels_of('accession,findings,impression\n1,No hemorrhage.,"Acute SDH."\n')
    assert (found.label.answer, found.label.sentence) == (Answer.BLEEDS, "Acute SDH.")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "r.csv is empty"),
        (b"\xef\xbb\xbf \r\n", "r.csv is empty"),
        (b"accession,text\n", "a header and no row"),
        (b"number,text\n1,No bleed\n", r"no column is called accession.*--column accession=NAME"),
        (b"accession,age\n1,60\n", "no column holds a report or a label"),
        (b"accession,report,text\n1,a,b\n", "both report and text may be the text"),
        (b'accession,text\n1,"No bleed\n2,Bleed\n', "line 2: its quotation marks do not match"),
        (b"\xff\xfea\x00c\x00c", "damaged"),
    ],
)
def test_a_table_that_cannot_be_read_says_why_in_one_sentence(data: bytes, said: str) -> None:
    with pytest.raises(Permanent, match=said):
        read_reports(data, "r.csv")


def test_a_column_is_what_a_person_says_it_is() -> None:
    data = b"Auftrag,text,report\n1,No bleed,Acute SDH\n"
    (row,) = read_reports(data, "r.csv", {"accession": "auftrag", "text": "report"}).rows
    assert (row.accession, row.text) == ("1", "Acute SDH")
    with pytest.raises(Permanent, match="no column 'Nummer'"):
        read_reports(data, "r.csv", {"accession": "Nummer"})
    with pytest.raises(Permanent, match="nothing is called 'acession'"):
        read_reports(data, "r.csv", {"acession": "Auftrag"})


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2025-01-31", datetime(2025, 1, 31, tzinfo=UTC)),
        ("2025-01-31T09:30:00+01:00", datetime(2025, 1, 31, 8, 30, tzinfo=UTC)),
        ("20250131", datetime(2025, 1, 31, tzinfo=UTC)),
        ("202501310930", datetime(2025, 1, 31, 9, 30, tzinfo=UTC)),
        ("20250131093015.123", datetime(2025, 1, 31, 9, 30, 15, tzinfo=UTC)),
        ("31.01.2025 09:30", datetime(2025, 1, 31, 9, 30, tzinfo=UTC)),
        ("01/02/2025", None),
        ("31.02.2025", None),
        ("yesterday", None),
    ],
)
def test_dates_are_read_that_mean_the_same_everywhere(text: str, read: datetime | None) -> None:
    (row,) = read_reports(f"accession,text,date\n1,No bleed,{text}\n".encode(), "r.csv").rows
    assert row.date == read


def test_the_same_report_twice_is_one_row() -> None:
    (found,) = labels_of('accession,text\n1,No bleed.\n1,"No  bleed."\n')
    assert found.label.answer is Answer.NONE and found.lines == (2, 3) and not found.problem


def test_of_different_reports_the_last_by_date_counts() -> None:
    head = "accession,date,text\n"
    (found,) = labels_of(f"{head}1,2025-01-02,Acute SDH.\n1,2025-01-01,No bleed.\n")
    assert found.label.answer is Answer.BLEEDS
    for dates in (("2025-01-01", "2025-01-01"), ("2025-01-01", ""), ("01/02/2025", "02/02/2025")):
        (found,) = labels_of(f"{head}1,{dates[0]},Acute SDH.\n1,{dates[1]},No bleed.\n")
        assert found.label.answer is Answer.CANNOT_TELL
        assert "2 different reports" in found.label.rule == found.problem


def test_an_accession_number_of_two_patients_is_told() -> None:
    (found,) = labels_of("accession,patient,text\n1,A,No bleed.\n1,B,No bleed.\n")
    assert found.label.answer is Answer.CANNOT_TELL and "two patients" in found.problem


def test_rows_that_need_a_person_are_kept() -> None:
    found = labels_of(
        "accession,text\n,No bleed.\n,Acute SDH.\n3,\n4,No bleed,no mass\n5,No bleed\n"
    )
    assert [each.problem for each in found] == [
        *["no accession number"] * 2,
        "no text",
        "it has more cells than the header",
        "",
    ]
    assert [each.label.answer for each in found] == [Answer.CANNOT_TELL] * 4 + [Answer.NONE]


@pytest.mark.parametrize(
    ("said", "answer", "rule"),
    [
        ("bleeds", Answer.BLEEDS, "given"),
        ("1", Answer.BLEEDS, "given"),
        ("Sí", Answer.BLEEDS, "given"),
        ("none", Answer.NONE, "given"),
        ("Cannot tell", Answer.CANNOT_TELL, "given"),
        ("maybe", Answer.CANNOT_TELL, 'given, and not understood: "maybe"'),
    ],
)
def test_a_label_that_was_given_is_taken_as_it_is(said: str, answer: Answer, rule: str) -> None:
    (found,) = labels_of(f"accession,label,text\n1,{said},Acute subdural hematoma.\n")
    assert (found.label.answer, found.label.rule) == (answer, rule)


def test_no_cell_is_a_formula_or_moves_a_cursor_and_numbers_come_back(tmp_path: Path) -> None:
    table = 'accession,patient,text\n=1+1,@P,"-SDH\x1b[2J on the left, acute."\n'
    out = tmp_path / "labels.csv"
    write_labels(out, labels_of(table), with_patients=True)
    with out.open(encoding="utf-8-sig", newline="") as file:
        head, cells = csv.reader(file)
    assert head == ["accession", "label", "sentence", "rule", "language", "patient"]
    assert cells[0] == "'=1+1" and cells[5] == "'@P" and cells[1] == "bleeds"
    assert not any(cell.startswith(("=", "+", "-", "@")) or "\x1b" in cell for cell in cells)
    (row,) = read_reports(out.read_bytes(), "labels.csv").rows
    assert (row.accession, row.patient, row.given) == ("=1+1", "@P", "bleeds")


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").mkdir()
    with pytest.raises(Permanent, match="cannot be written"):
        write_labels(tmp_path / "labels.csv", labels_of(GERMAN), with_patients=False)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]
