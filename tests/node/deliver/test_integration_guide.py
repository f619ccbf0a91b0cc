"""docs/integration.md and docs/json.md show what the node sends, to the byte."""

import json
import re
import tomllib
from dataclasses import replace

import pytest

from node.deliver.channels import hl7, mail, webhook
from node.deliver.messages import Message
from node.news import News, What
from node.settings import Destination, Settings
from node.states import Priority
from tests.support import ROOT

GUIDE = (ROOT / "docs" / "integration.md").read_text()
JSON = (ROOT / "docs" / "json.md").read_text()
ADDRESS = {"host": "192.0.2.20", "port": 2575}
RIS = Destination(
    name="ris",
    how="hl7",
    **ADDRESS,
    hl7={"receiving_application": "RIS", "receiving_facility": "HOSPITAL", "assigner": "HOSPITAL"},
)
HOOK = Destination(
    name="hook",
    how="webhook",
    webhook={"url": "https://bus.hospital.example/ichnode", "secret_variable": "ICHNODE_HOOK_KEY"},
)
MAIL = Destination(
    name="on-call",
    how="mail",
    **ADDRESS,
    mail={"sender": "ichnode@hospital.example", "recipient": "on-call@hospital.example"},
)
FLAG = News(
    study_instance_uid="1.2.826.0.1.3680043.8.498.1",
    number=1,
    what=What.FLAG,
    at="2026-11-20T08:31:07.204113+00:00",
    case_id=7,
    patient_id="4711",
    patient_birth_date="19520304",
    accession_number="A20261120-17",
    priority=Priority.SUSPECTED,
    before=None,
    prior=False,
    probability=0.9312,
    uncertain=False,
    volume_ml=77.4,
    reason=None,
    series_instance_uid="1.2.826.0.1.3680043.8.498.2",
    key_slice_sop_instance_uid="1.2.826.0.1.3680043.8.498.3",
    bundle="ich-ensemble@3",
    received_at="2026-11-20T08:30:41.000310+00:00",
    flagged_at="2026-11-20T08:31:07.204113+00:00",
    limitations=("The slices are tilted by 18 degrees.",),
)
RETRACTION = replace(
    FLAG,
    number=2,
    what=What.RETRACT,
    at="2026-11-20T08:40:12.000000+00:00",
    priority=Priority.NOT_SUSPECTED,
    before=Priority.SUSPECTED,
    probability=0.0213,
)


def message(said: News) -> Message:
    return Message(said, said.parcel("hl7").dedup_key)


@pytest.mark.parametrize("said", [FLAG, RETRACTION], ids=["flag", "retraction"])
def test_guide_shows_the_message_to_the_ris(said: News) -> None:
    shown = hl7.compose(message(said), RIS).decode().replace("\r", "\n")
    assert f"```\n{shown}```" in GUIDE


def test_guide_shows_the_mail() -> None:
    text = mail.compose(message(FLAG), MAIL).as_string().replace("\r\n", "\n")
    assert f"```\n{text}```" in GUIDE


def test_json_guide_shows_the_webhook_and_lists_its_keys() -> None:
    body = webhook.body(message(FLAG), HOOK)
    section = JSON.split("## Webhook")[1].split("\n## ")[0]
    assert f"```json\n{body.decode()}\n```" in section
    listed = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.+?) \|", section, re.M))))
    assert set(json.loads(body)) | {"patient_id"} <= listed


def test_settings_of_the_guide_are_valid() -> None:
    examples = re.findall(r"```toml\n(.+?)```", GUIDE, re.S)
    assert len(examples) >= 3
    for example in examples:
        Settings(**tomllib.loads(example))
