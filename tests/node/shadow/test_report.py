"""What was read in shadow as a comparison: its numbers, its links, and whom it names."""

import re
from datetime import timedelta

import pytest

from node.errors import BadConfiguration
from node.identity import PatientIdentity
from node.reported import Answer, ReportLabel, ReportOf, ReportStatus
from node.shadow.report import shadow_report
from node.wording import Flip
from tests.support.shadowed import Shadowed
from tests.support.working import receive, work


def labelled(shadowed: Shadowed, uid: str, answer: Answer) -> None:
    """Have a radiologist's report of a study come."""
    now = shadowed.clock()
    patient = PatientIdentity("P1", "")
    of = ReportOf("digest" + uid[-20:], "A1", patient, ReportStatus.FINAL, now)
    label = ReportLabel(answer, "Acute subdural hematoma.", "stated", "en")
    shadowed.worklist.reports.keep(of, [uid], label, now)


def test_flips_stand_with_their_slices_links_and_what_the_report_says(
    shadowed: Shadowed,
) -> None:
    with pytest.raises(BadConfiguration, match="has read nothing in the shadow of fake@1 yet"):
        shadow_report(shadowed.settings, shadowed.worklist, shadowed.clock())
    shadowed.begin()
    for number in (1, 2):
        receive(shadowed.node, scan=shadowed.head(number))
    work(shadowed.node, shadowed.clock)
    rows = shadowed.worklist.views.worklist(shadowed.clock.now)
    labelled(shadowed, rows[0].study_instance_uid, Answer.BLEEDS)
    shadowed.read()
    told, page = shadow_report(
        shadowed.settings, shadowed.worklist, shadowed.clock() + timedelta(days=1)
    )
    names = {row.study_instance_uid: f"case {row.case_id}" for row in rows}
    assert told["flips"][Flip.UNFLAGGED] and len(told["flips"][Flip.UNFLAGGED]) == 2
    assert told["lost"] == [names[rows[0].study_instance_uid]]
    assert (told["old"]["name"], told["new"]["name"]) == ("fake@1", "fake@2")
    assert told["all"]["table"] == {"both": 0, "only_new": 0, "only_old": 2, "neither": 0}
    assert told["reference"]["by"] == "report"
    assert any("look at each of them at its page" in remark for remark in told["remarks"])
    assert page.count("data:image/jpeg;base64,") == 4
    assert {f"{link}" for link in re.findall(r'href="([^"]*)"', page)} == {
        f"http://127.0.0.1:8042/studies/{row.case_id}" for row in rows
    }
    text = f"{told}{page}"
    for row in rows:
        assert row.study_instance_uid not in text and row.patient_id not in text.split()
    assert "subdural hematoma" not in text
    with_words, _ = shadow_report(
        shadowed.settings, shadowed.worklist, shadowed.clock(), with_words=True
    )
    assert "subdural hematoma" in str(with_words)
