"""Settings of the watch after go-live: radiologists' reports beside the node's results."""

import re
from pathlib import Path

from pydantic import Field, field_validator

from node.settings.section import Section


class Watch(Section):
    """After go-live: the results are compared with radiologists' reports (HL7 ORU^R01)."""

    reports: bool = Field(False, description="whether reports are taken at the port of receive.adt")
    language: str = Field(
        "",
        description='the language of all reports, such as "en"; empty: each one\'s is told by its '
        "words",
    )
    vocabularies: tuple[Path, ...] = Field(
        (), description="files with more words of a language (docs/archive.md)"
    )
    accession_in: tuple[str, ...] = Field(
        ("OBR-18", "OBR-3", "OBR-2"),
        min_length=1,
        description="where the accession number stands: the first of these fields that is not "
        "empty",
    )
    charts: bool = Field(
        False, description="whether the outcomes of each scanner are charted each hour, with alarms"
    )
    baseline: int = Field(
        200, ge=20, description="first studies of a scanner that say what is usual of it"
    )
    run_length: float = Field(
        5000.0,
        ge=100,
        description="studies of all scanners up to the first false alarm of any chart, in the mean",
    )
    proven: int = Field(
        0,
        ge=0,
        description="a scanner, its software or a kernel with fewer compared studies is a "
        "limitation of results; 0: off",
    )
    strays_days: float = Field(
        30.0, gt=0, description="a report of no study here is forgotten after, days"
    )

    @field_validator("accession_in")
    @classmethod
    def _are_fields_of_obr(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not re.fullmatch(r"OBR-[1-9]\d?", name):
                raise ValueError(f"{name!r} is no field of OBR, such as OBR-18")
        return names
