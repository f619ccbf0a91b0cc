"""What the schema of audit messages demands (PS3.15 A.5.1.1), element by element."""

import re
from base64 import b64decode
from collections.abc import Mapping
from xml.etree import ElementTree as ET

CODE = {"csd-code": r"\S+", "codeSystemName": r"\S+", "originalText": r".+"}
BOOLEAN, ANY = "true|false", ".+"
REQUIRED: Mapping[str, Mapping[str, str]] = {
    "AuditMessage": {},
    "EventIdentification": {
        "EventDateTime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
        "EventOutcomeIndicator": "0|4|8|12",
    },
    "EventID": CODE,
    "EventTypeCode": CODE,
    "ActiveParticipant": {"UserID": ANY, "UserIsRequestor": BOOLEAN},
    "RoleIDCode": CODE,
    "AuditSourceIdentification": {"AuditSourceID": ANY},
    "AuditSourceTypeCode": {"csd-code": "[1-9]"},
    "ParticipantObjectIdentification": {"ParticipantObjectID": ANY},
    "ParticipantObjectIDTypeCode": CODE,
    "ParticipantObjectName": {},
    "ParticipantObjectQuery": {},
    "ParticipantObjectDetail": {"type": r"\S.*", "value": "[A-Za-z0-9+/]+=*"},
}
OPTIONAL: Mapping[str, Mapping[str, str]] = {
    "EventIdentification": {"EventActionCode": "[CRUDE]"},
    "ActiveParticipant": {
        "AlternativeUserID": ANY,
        "NetworkAccessPointID": ANY,
        "NetworkAccessPointTypeCode": "[1-5]",
    },
    "ParticipantObjectIdentification": {
        "ParticipantObjectTypeCode": "[1-4]",
        "ParticipantObjectTypeCodeRole": "[1-9]|1[0-9]|2[0-6]",
    },
}
CHILDREN: Mapping[str, str] = {
    "AuditMessage": "EventIdentification (ActiveParticipant )+AuditSourceIdentification "
    "(ParticipantObjectIdentification )*",
    "EventIdentification": "EventID (EventTypeCode )*",
    "ActiveParticipant": "(RoleIDCode )*",
    "AuditSourceIdentification": "(AuditSourceTypeCode )*",
    "ParticipantObjectIdentification": "ParticipantObjectIDTypeCode "
    "(ParticipantObjectName |ParticipantObjectQuery )(ParticipantObjectDetail )*",
}
"""The order of the elements within each, as a regular expression."""


def faults(message: bytes) -> list[str]:
    """Return what is wrong with a message; an element that the schema has and we do not is one."""
    root = ET.fromstring(message)
    found = [] if root.tag == "AuditMessage" else [f"the root is {root.tag}"]
    for element in root.iter():
        required, optional = REQUIRED.get(element.tag), OPTIONAL.get(element.tag, {})
        if required is None:
            found.append(f"{element.tag} is unknown")
            continue
        found += [f"{element.tag} lacks {name}" for name in required.keys() - element.keys()]
        allowed = {**required, **optional}
        for name, value in element.items():
            if not re.fullmatch(allowed.get(name, "(?!)"), value):
                found.append(f"{element.tag}: {name}={value!r}")
        order = "".join(f"{child.tag} " for child in element)
        if not re.fullmatch(CHILDREN.get(element.tag, ""), order):
            found.append(f"{element.tag} has {order}")
    for query in root.iter("ParticipantObjectQuery"):
        b64decode(query.text or "", validate=True)
    return found
