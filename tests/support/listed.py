"""Studies on a worklist, taken through outcomes without images: what the page's tests list."""

from datetime import UTC, datetime, timedelta

from node.outcomes import Outcome, Planned, Reported, Triaged
from node.records import Frame, Header, Parcel, ReportObject, StoredObject
from node.states import Priority, State
from node.worklist import Worklist

NOW = datetime(2026, 11, 20, 3, 15, tzinfo=UTC)
SR, SEG = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.66.4"
KINDS = {SR: "sr", SEG: "seg"}
ASSEMBLED = Planned()
NEGATIVE = Triaged(Priority.NOT_SUSPECTED, probability=0.04, volume_ml=0.0)
SUSPECTED = Triaged(
    Priority.SUSPECTED,
    probability=0.93,
    volume_ml=12.44,
    subtypes={"subdural": 0.9, "subarachnoid": 0.61, "epidural": 0.1},
    limitations=("gantry tilt 18.5 degrees",),
)


def study(
    worklist: Worklist,
    number: int,
    *outcomes: Outcome,
    patient_id: str = "P",
    accession: str = "",
    description: str = "",
    then: datetime = NOW - timedelta(minutes=10),
    series: int = 1,
    image: int = 1,
    manufacturer: str = "",
) -> None:
    """Receive an image of a study at `then` and take its series through `outcomes`, a second each.

    A second `image` of the same series is a late slice.
    """
    header = Header(
        "1.2.840.10008.5.1.4.1.1.2",
        f"1.9.{number}.{series}" + (f".{image}" if image > 1 else ""),
        f"1.7.{number}",
        f"1.8.{number}.{series}",
        "1.2.840.10008.1.2.1",
        (Frame(None, None),),
        patient_id=patient_id,
        accession_number=accession,
        study_description=description,
        manufacturer=manufacturer,
    )
    worklist.arrivals.add(
        header, StoredObject(f"{number}", f"{image}{series}{number:062}", 1), caller="CT1", now=then
    )
    work = (State.RECEIVING, State.ASSEMBLED, State.TRIAGED, State.NOT_ANALYSED)
    for second, outcome in enumerate(outcomes, start=1):
        now = then + timedelta(seconds=second)
        case = worklist.cases.claim(work, "w", 60, now, study_uid=f"1.7.{number}")
        assert case is not None
        worklist.cases.finish(case, "w", outcome, now)


def report(*sop_classes: str) -> Outcome:
    """A report of these objects, owed to one PACS."""
    items = [
        ReportObject(KINDS.get(uid, "object"), "x.dcm", uid, f"2.25.{n}")
        for n, uid in enumerate(sop_classes)
    ]
    return Reported(tuple(("PACS", Parcel.of(item)) for item in items))
