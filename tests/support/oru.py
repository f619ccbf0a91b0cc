"""Reports as HL7 ORU^R01, of the head that the builder scans."""

from tests.support.builder import HEAD

PATIENT = HEAD.build()[0].PatientID
BORN = HEAD.build()[0].PatientBirthDate
BLEEDS = "FINDINGS: Mr Miller fell.\nIMPRESSION: Acute left subdural hematoma."
NONE = "IMPRESSION: No intracranial hemorrhage."


def oru(
    text: str = BLEEDS,
    *,
    accession: str = "A1",
    patient: str = PATIENT,
    birth: str = BORN,
    status: str = "F",
    at: str = "20260115090000+0000",
    control: str = "R1",
) -> bytes:
    """Return a report of one examination; its lines become observations."""
    lines = [
        rf"MSH|^~\&|RIS|HOSP|ICHNODE||20260115||ORU^R01|{control}|P|2.5.1||||||UNICODE UTF-8",
        f"PID|1||{patient}^^^HOSP^MR||MEIER^ANNA||{birth}|F",
        f"OBR|1||{accession}|CTH^CT HEAD" + "|" * 18 + at + "|" * 3 + status,
    ]
    lines += [f"OBX|{n}|TX|GDT^Report||{line}" for n, line in enumerate(text.splitlines(), 1)]
    return "".join(f"{line}\r" for line in lines).encode()
