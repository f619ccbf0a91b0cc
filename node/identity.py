"""Whose an object is: the one comparison of patients and studies.

Nothing is ever merged, filed or sent by guess: an absent value ("") is a value like any other, and
two values that differ in any character are two identities. A person's name belongs to no identity,
since one name is written in many ways.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

from node.records import Header


def disagreeing(*said: Mapping[str, object]) -> list[str]:
    """Return the keywords under which not all of these say the same, in the order of the first.

    Parameters
    ----------
    said
        By DICOM keyword, the values of one object; all of them have the same keywords.
    """
    first, *others = said or ({},)
    return [keyword for keyword in first if any(it[keyword] != first[keyword] for it in others)]


_LOST = re.compile(r"[?\ufffd]+|[^\x00-\x7f]+")
"""What a program writes in place of characters that it does not know, and those characters."""


def same_name(one: str, other: str) -> bool:
    """Return whether two person names are spellings of one (PS3.5 6.2.1).

    Case, empty components at the end, spaces and the form of accents tell no persons apart, nor
    does a component group (phonetic, ideographic) that one of the names lacks, nor characters that
    were lost and stand as "?".
    """
    groups = [
        (mine, theirs)
        for mine, theirs in zip(_groups(one), _groups(other), strict=False)
        if mine and theirs
    ]
    return bool(groups) and all(_same_group(*pair) for pair in groups)


def _groups(name: str) -> list[str]:
    """Return the component groups of a name without what tells no persons apart."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    components = [
        [" ".join(part.split()) for part in group.split("^")] for group in plain.split("=")
    ]
    return ["^".join(parts).rstrip("^") for parts in components]


def _same_group(one: str, other: str) -> bool:
    if "?" in one + other or "\ufffd" in one + other:
        one, other = _LOST.sub("?", one), _LOST.sub("?", other)
    return one == other


@dataclass(frozen=True, slots=True)
class PatientIdentity:
    """Who was scanned (PS3.3 C.7.1.1)."""

    patient_id: str
    birth_date: str

    @classmethod
    def of(cls, header: Header) -> Self:
        """Return whom an object names."""
        return cls(header.patient_id, header.patient_birth_date)

    def values(self) -> dict[str, str]:
        """Return the attributes by DICOM keyword."""
        return {"PatientID": self.patient_id, "PatientBirthDate": self.birth_date}


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose an object is: what a result must share with the images that it speaks of."""

    study_instance_uid: str
    patient: PatientIdentity

    @classmethod
    def of(cls, header: Header) -> Self:
        """Return whose an object is, by what it says of itself."""
        return cls(header.study_instance_uid, PatientIdentity.of(header))

    def values(self) -> dict[str, str]:
        """Return the attributes by DICOM keyword."""
        return {"StudyInstanceUID": self.study_instance_uid, **self.patient.values()}

    def differences(self, other: "Identity") -> dict[str, tuple[str, str]]:
        """Return where the two differ: DICOM keyword -> this one's value, the other's."""
        mine, theirs = self.values(), other.values()
        return {keyword: (mine[keyword], theirs[keyword]) for keyword in disagreeing(mine, theirs)}

    def unlike(self, sources: Collection["Identity"]) -> list[str]:
        """Return the keywords that this one does not share with all of its sources.

        These are all keywords if there is no source: then nothing vouches for it.
        """
        mine = self.values()
        return disagreeing(mine, *(it.values() for it in sources)) if sources else list(mine)
