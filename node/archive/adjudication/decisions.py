"""What people answered: `decisions.jsonl`, to which lines are added, and no line is taken away."""

import fcntl
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from models.findings import SUBTYPES
from node.errors import Permanent


class Answer(StrEnum):
    """Whether a study shows a bleed, in a person's eyes."""

    BLEEDS = "bleeds"
    NONE = "none"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of the file: an answer, or an earlier one taken back.

    Attributes
    ----------
    id
        A UUID.
    study
        Its pseudonym.
    at
        When, ISO 8601, UTC.
    answer
        None where the line takes back an answer.
    subtypes
        Those that the person named, of `models.findings.SUBTYPES`.
    blinded
        Whether node and report were hidden.
    asked_for
        "disagreement" or "agreement sample".
    undoes
        The id of the decision that is taken back; "" if none is.
    """

    id: str
    study: str
    who: str
    at: str
    answer: Answer | None
    subtypes: tuple[str, ...]
    blinded: bool
    note: str
    asked_for: str
    undoes: str = ""

    def to_line(self) -> str:
        """Return the line of the file."""
        return json.dumps({**asdict(self), "undoes": self.undoes or None}, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Decisions:
    """All that was decided.

    Attributes
    ----------
    lines
        In the order of the file.
    unreadable
        Numbers of lines that are none, from 1: what a power cut left.
    """

    lines: tuple[Decision, ...] = ()
    unreadable: tuple[int, ...] = ()

    def standing(self) -> Mapping[str, Mapping[str, Decision]]:
        """Return what stands, by study and person: the last that was not taken back."""
        undone = {each.undoes for each in self.lines if each.undoes}
        found: dict[str, dict[str, Decision]] = {}
        for each in self.lines:
            if each.answer is not None and each.id not in undone:
                found.setdefault(each.study, {})[each.who] = each
        return found

    def people(self) -> list[str]:
        """Return who has decided anything that stands, in the order of names."""
        return sorted({who for by_person in self.standing().values() for who in by_person})


def settled(answers: Iterable[Decision]) -> bool | None:
    """Return whether a study bleeds by its answers: what more people say; None if that is open.

    "Cannot tell" is no vote. Where as many say the one as the other it is open, until a further
    person decides.
    """
    votes = [each.answer for each in answers]
    bleeds, none = votes.count(Answer.BLEEDS), votes.count(Answer.NONE)
    return None if bleeds == none else bleeds > none


def read_decisions(file: Path) -> Decisions:
    """Return what stands in a file; nothing if there is none.

    Raises
    ------
    Permanent
        If it cannot be read.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return Decisions()
    except OSError as error:
        raise Permanent(f"{file} cannot be read: {error.strerror}") from error
    lines, unreadable = [], []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            lines.append(_decision(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            unreadable.append(number)
    return Decisions(tuple(lines), tuple(unreadable))


def _decision(told: Mapping[str, Any]) -> Decision:
    answer = told.get("answer")
    return Decision(
        id=str(told["id"]),
        study=str(told["study"]),
        who=str(told["who"]),
        at=str(told["at"]),
        answer=None if answer is None else Answer(answer),
        subtypes=tuple(name for name in told.get("subtypes") or () if name in SUBTYPES),
        blinded=bool(told.get("blinded")),
        note=str(told.get("note") or ""),
        asked_for=str(told.get("asked_for") or ""),
        undoes=str(told.get("undoes") or ""),
    )


def append(file: Path, decisions: Sequence[Decision]) -> None:
    """Add lines to the file, which are on the disk then; several processes may do so at once.

    A line that a power cut left half written is ended first, so that it spoils no other.

    Raises
    ------
    Permanent
        If they cannot be written: nothing was decided then.
    """
    text = "".join(f"{each.to_line()}\n" for each in decisions).encode()
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                text = b"\n" + text
            opened.write(text)
            os.fsync(descriptor)
    except OSError as error:
        raise Permanent(f"{file} cannot be written, nothing was decided: {error}") from error
