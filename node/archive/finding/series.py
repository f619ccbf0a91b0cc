"""A series as it was found, with its real names, and the rows that it gives."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from node.archive.finding.words import age_band
from node.archive.proof import Pseudonyms


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """A series of an archive by its headers; text is "" and a number None where they do not say.

    Attributes
    ----------
    source
        Where it was found: a folder, the address of a server, or a configured name.
    paths
        Its files, for a folder; and those beside them that should be images and cannot be read.
    study_date
        ISO 8601.
    place
        Of the order: "emergency", "inpatient", "outpatient" or "".
    taken
        Whether the node would read it, by its headers; `why` says what decided.
    """

    study_instance_uid: str
    series_instance_uid: str
    source: str
    paths: tuple[str, ...] = ()
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    accession_number: str = ""
    study_date: str = ""
    modality: str = ""
    body_part: str = ""
    description: str = ""
    manufacturer: str = ""
    model: str = ""
    software: str = ""
    station: str = ""
    kernel: str = ""
    thickness_mm: float | None = None
    spacing_mm: float | None = None
    slices: int | None = None
    age_years: float | None = None
    sex: str = ""
    place: str = ""
    taken: bool = False
    why: str = ""

    def joined(self, other: "FoundSeries") -> "FoundSeries":
        """Return the series with the files of both: it lay in several folders."""
        return replace(self, paths=tuple(dict.fromkeys((*self.paths, *other.paths))))

    def described(self, names: Pseudonyms) -> dict[str, Any]:
        """Return its row of the catalogue: pseudonyms, and what the headers say."""
        return {
            "study": names.study(self.study_instance_uid),
            "series": names.series(self.series_instance_uid),
            "patient": names.patient(self.patient_id, self.issuer_of_patient_id),
            "accession": names.accession(self.accession_number),
            **{name: getattr(self, name) for name in _PLAIN},
            "source": f"folder {names.folder(self.source)}" if self.paths else self.source,
            "scanner": scanner(self.manufacturer, self.model, names.station(self.station)),
            "age_band": age_band(self.age_years),
        }

    def kept(self, names: Pseudonyms) -> dict[str, Any]:
        """Return its row of what the pseudonyms stand for."""
        return {
            "study": names.study(self.study_instance_uid),
            "series": names.series(self.series_instance_uid),
            **{name: getattr(self, name) for name in _REAL},
            "paths": list(self.paths),
        }


_PLAIN = (
    *("study_date", "modality", "body_part", "description", "manufacturer", "model"),
    *("software", "kernel", "thickness_mm", "spacing_mm", "slices", "sex", "place", "taken", "why"),
)
_REAL = (
    *("study_instance_uid", "series_instance_uid", "patient_id", "issuer_of_patient_id"),
    *("accession_number", "source"),
)


def from_row(row: dict[str, Any]) -> FoundSeries:
    """Return the series that `to_row` wrote."""
    return FoundSeries(**{**row, "paths": tuple(row["paths"])})


def to_row(series: FoundSeries) -> dict[str, Any]:
    """Return the series as plain values, by column."""
    return {**asdict(series), "paths": list(series.paths)}


def scanner(manufacturer: str, model: str, station: str) -> str:
    """Return what a scanner is called: its make, and the pseudonym of its station."""
    return " ".join(filter(None, (manufacturer, model, station)))
