"""The worklist in a terminal."""

from io import StringIO

from rich.console import Console

from node.console import summary, worklist_table
from node.states import Priority
from tests.test_worklist_rows import row


def test_an_uncertain_study_says_so_beside_its_priority() -> None:
    rows = [
        row(n, Priority.NOT_SUSPECTED, probability=0.1, uncertain=uncertain)
        for n, uncertain in enumerate((True, False))
    ]
    written = StringIO()
    Console(file=written, width=120).print(worklist_table(rows))
    assert written.getvalue().count("○ NOT SUSPECTED") == 2
    assert written.getvalue().count("? UNCERTAIN") == 1


def test_one_studys_summary_says_that_it_is_uncertain_and_by_how_much() -> None:
    study = row(1, Priority.NOT_SUSPECTED, probability=0.1, uncertain=True).to_json()
    assert "UNCERTAIN: the networks disagree" in summary(study)
    assert "(0.31)" in summary(study)
    assert "UNCERTAIN" not in summary(study | {"uncertain": False})
