"""CONFORMANCE.md says what the code does."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node.case_folder import CaseFolder
from node.cases.report import write_report
from node.committed import FailureReason
from node.dicom.net import association, retrieve
from node.dicom.net.associate_request import ContextResult
from node.dicom.write.source import SERIES_NUMBERS
from node.settings import Settings
from node.states import Reason
from node.web import dicomweb_service
from node.worklist import Level, Worklist, matched
from tests.support import ROOT
from tests.support.databases import new_database
from tests.support.reported import findings, lesion, tilted_volume, write

TEXT = (ROOT / "CONFORMANCE.md").read_text()


def section(title: str) -> str:
    """Return the text from a heading to the next."""
    return TEXT.split(title, 1)[1].split("\n## ", 1)[0].split("\n### ", 1)[0]


def uids(text: str) -> set[str]:
    return set(re.findall(r"\b1\.2\.840\.10008[\d.]*\d", text))


def test_accepted_sop_classes_and_transfer_syntaxes_are_listed_and_no_others() -> None:
    accepted = {str(cx.abstract_syntax) for cx in association.contexts_in()}
    accepted -= {*association.PATIENT_ROOT, *association.STUDY_ROOT, association.COMMITMENT}
    accepted |= set(association.ACCEPTED_TRANSFER_SYNTAXES)
    assert uids(section("### 2.2")) == accepted


def test_sent_sop_classes_are_listed_and_no_others(tmp_path: Path) -> None:
    plan = write(tilted_volume(), tmp_path)
    when = datetime(2026, 1, 15, tzinfo=UTC)
    asked = SERIES_NUMBERS.keys() - {"rejection"}  # of the same class as the key object note
    folder = CaseFolder(tmp_path, "case")
    objects = write_report(plan, findings(lesion()), folder, when, also=asked)
    assert {item.kind for item in objects} == asked
    assert uids(section("### 2.3")) == {item.sop_class_uid for item in objects}


def test_query_and_retrieve_sop_classes_are_listed() -> None:
    assert uids(section("### 2.4")) == {retrieve.FIND, retrieve.GET, retrieve.MOVE}


def test_query_and_retrieve_services_are_listed_with_their_keys() -> None:
    text = section("### 2.6")
    assert uids(text) == {*association.PATIENT_ROOT, *association.STUDY_ROOT}
    listed = dict(re.findall(r"^\| ([A-Z]+)[^|]* \| (.+) \|$", text, re.M))
    told: set[str] = set()
    for level in Level:
        told |= set(re.findall(r"\b[A-Z][A-Za-z]+[a-z](?:UID|ID)?\b|\bSOP\w+", listed[level]))
        assert matched(level) <= told, level


def test_storage_commitment_and_its_failure_reasons_are_listed() -> None:
    text = section("### 2.8")
    assert uids(text) == {association.COMMITMENT, association.COMMITMENT_INSTANCE}
    listed = dict(re.findall(r"^\| ([A-Z_]+) \| ([0-9A-F]{4}) \|", text, re.M))
    assert listed == {reason.name: f"{reason:04X}" for reason in FailureReason}


def test_resources_of_dicomweb_are_listed(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    new_database(settings.url)
    with Worklist(settings.url) as worklist:
        handles = (worklist.archive, worklist.arrivals)
        mount = dicomweb_service(settings, *handles, lambda: datetime.now(UTC))
    text = section("### 2.7")
    for route in mount.routes:
        *_, last = re.sub(r"\{(?!tag)\w+\}", "{}", route.path).rsplit("/", 2)
        assert last in text, route.path


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained(reason: Reason) -> None:
    assert re.search(rf"^\| {reason} \| .+ \|$", section("## 3"), re.M)


def test_no_reason_is_explained_that_does_not_exist() -> None:
    assert set(re.findall(r"^\| ([A-Z_]+) \|", section("## 3"), re.M)) == set(Reason)


def test_status_codes_are_those_of_the_code() -> None:
    listed = dict(re.findall(r"^\| ([A-Z_]+) \| ([0-9A-F]{4}) \|", section("### 2.2"), re.M))
    assert listed == {status.name: f"{status:04X}" for status in association.Status}


def test_rejections_are_those_of_the_code() -> None:
    listed = re.findall(r"^\| ([A-Z_]+) \| (\d), (\d), (\d) \|", section("### 2.1"), re.M)
    expected = [(each.name, *map(str, each.value)) for each in association.Rejection]
    assert listed == expected


def test_results_of_contexts_are_those_of_the_code() -> None:
    listed = re.findall(r"^\| ([A-Z_]+) \| (\d) \|", section("### 2.1"), re.M)
    assert listed == [(each.name, str(each.value)) for each in ContextResult]


def test_implementation_identifiers_are_stated() -> None:
    assert association.IMPLEMENTATION_CLASS_UID in TEXT
    assert association.IMPLEMENTATION_VERSION_NAME in TEXT


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_given_somewhere(reason: Reason) -> None:
    node = ROOT / "node"
    sources = "".join(path.read_text() for path in node.rglob("*.py") if path.name != "states.py")
    assert f"Reason.{reason.name}" in sources
