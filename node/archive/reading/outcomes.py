"""The outcomes of studies: a row each, durable as soon as a study is done, in files of many rows.

A row is appended to a journal first. Some hundred of them become one Parquet file, which is written
whole and then renamed; the journal begins anew after that. So a process that is killed between two
instructions loses no row, and a row that stands in both is known by its study.
"""

import json
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.findings import SUBTYPES
from node.archive.finding import scanner
from node.archive.proof import Proof, Pseudonyms, undamaged
from node.archive.reading.orders import Order
from node.archive.reading.result import Reading
from node.disk import make_private, sync_file, sync_folder
from node.errors import BadConfiguration
from node.folder_lock import Turn

ROWS = 256
"""So many rows become a file: a million studies are 4,000 files."""
LONGEST_S = 600.0
"""After so many seconds fewer rows become a file, so that others see them; chosen."""

_UID = re.compile(r"\b\d+(\.\d+){3,}")
_PATH = re.compile(
    r"(?<=')/[^'\n]+(?=')|(?<=\")/[^\"\n]+(?=\")|(?<![\w.])/(?=\S)(?:[^/'\"\n]+/)+[^/'\"\s:;,)]*"
)
"""Whoever exports an archive often gives folders and files the names of patients."""
_TEXT, _NUMBER = pa.string(), pa.float64()
OUTCOME = pa.schema(
    [
        *((name, _TEXT) for name in ("study", "patient", "accession", "result")),
        ("flagged", pa.bool_()),
        ("reason", _TEXT),
        ("probability", _NUMBER),
        ("uncertain", pa.bool_()),
        ("subtypes", pa.struct([(name, _NUMBER) for name in ("any", *SUBTYPES)])),
        ("volume_ml", _NUMBER),
        ("limitations", pa.list_(_TEXT)),
        ("mimics", pa.list_(_TEXT)),
        ("operating_point", _TEXT),
        ("threshold", _NUMBER),
        *((name, _TEXT) for name in ("bundle", "bundle_version", "scanner", "manufacturer")),
        *((name, _TEXT) for name in ("model", "kernel")),
        ("thickness_mm", _NUMBER),
        *((name, _TEXT) for name in ("age_band", "sex", "place", "study_date")),
        ("slices", pa.int32()),
        ("read_at", pa.timestamp("us", tz="UTC")),
        *((name, _NUMBER) for name in ("seconds_retrieve", "seconds_decode", "seconds_read")),
        ("key_slice", pa.int32()),
    ]
)


def outcome(order: Order, reading: Reading, names: Pseudonyms, now: datetime) -> dict[str, Any]:
    """Return the row of a study that was read, as JSON values."""
    told = asdict(reading)
    told["reason"] = _unnamed(reading.reason)
    told["limitations"] = [_unnamed(sentence) for sentence in reading.limitations]
    station = names.station(told.pop("station"))
    del told["picture"]
    return {
        **told,
        **{"study": order.study, "patient": order.patient, "accession": order.accession},
        "flagged": reading.result == "SUSPECTED",
        "scanner": scanner(reading.manufacturer, reading.model, station),
        "read_at": now.isoformat(),
    }


def _unnamed(text: str) -> str:
    """Return a sentence without UIDs and paths: an error may name the study that it met."""
    return _UID.sub("(UID)", _PATH.sub("(path)", text))


class Outcomes:
    """The outcomes of a proof. One process at a time adds to them.

    Raises
    ------
    BadConfiguration
        If another process reads for this proof, or an outcome is damaged.
    """

    def __init__(self, proof: Proof) -> None:
        self._folder = proof.outcomes
        make_private(self._folder, "PROOF")
        self._turn = Turn(proof.secret, "read.lock")
        if not self._turn.taken():
            raise BadConfiguration(f"another ichnode archive read works on {proof.root}")
        try:
            self.done: set[str] = set(_studies(self._folder))
        except BadConfiguration:
            self._turn.leave()
            raise
        self._rows = [row for row in self._journalled() if row["study"] not in self.done]
        self.done |= {row["study"] for row in self._rows}
        self._since = time.monotonic()
        self._put()

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a study's row; it is durable when this returns."""
        with self._journal.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._rows.append(dict(row))
        self.done.add(row["study"])
        if len(self._rows) >= ROWS or time.monotonic() - self._since > LONGEST_S:
            self._put()

    def forget(self, results: Collection[str]) -> None:
        """Take the rows with these results away, so that their studies have no outcome."""
        for file in sorted(self._folder.glob("*.parquet")):
            table = pq.read_table(file)
            gone = pc.is_in(table["result"], pa.array(sorted(results), _TEXT))
            studies = table.filter(gone)["study"].to_pylist()
            if not studies:
                continue
            if len(studies) < table.num_rows:
                self._write(table.filter(pc.invert(gone)), file)
            else:
                file.unlink()
            self.done -= set(studies)
        sync_folder(self._folder)

    def close(self) -> None:
        """Let others see all rows, and another process read."""
        self._put()
        self._turn.leave()

    @property
    def _journal(self) -> Path:
        """Its name begins so that a reader of the data set leaves it out."""
        return self._folder / "_journal.jsonl"

    def _journalled(self) -> list[dict[str, Any]]:
        """Return the rows of the journal; one that is cut short or damaged was never done."""
        if not self._journal.exists():
            return []
        *whole, _ = self._journal.read_text(errors="replace").split("\n")
        return [row for row in map(_row, whole) if row]

    def _put(self) -> None:
        """Make a file of the rows, and begin the journal anew."""
        self._since = time.monotonic()
        if self._rows:
            number = max((int(one.stem) for one in self._folder.glob("*.parquet")), default=0) + 1
            self._write(_table(self._rows), self._folder / f"{number:08}.parquet")
        self._rows = []
        self._journal.unlink(missing_ok=True)

    def _write(self, table: pa.Table, file: Path) -> None:
        """Leave a whole file, in the place of the one of its name if there is one."""
        partial = self._folder / "_rows.partial"
        pq.write_table(table, partial)
        sync_file(partial)
        partial.rename(file)
        sync_folder(self._folder)


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    timed = [{**row, "read_at": datetime.fromisoformat(row["read_at"])} for row in rows]
    return pa.Table.from_pylist(timed, schema=OUTCOME)


def _row(line: str) -> dict[str, Any]:
    """Return the row of a line of the journal; nothing if it is none."""
    try:
        row = json.loads(line)
        return row if isinstance(row, dict) and row.keys() >= set(OUTCOME.names) else {}
    except ValueError:
        return {}


def _studies(folder: Path) -> Iterator[str]:
    """Yield the studies that have a row.

    Raises
    ------
    BadConfiguration
        If a file is damaged.
    """
    for file in sorted(folder.glob("*.parquet")):
        with undamaged(file, "have its studies read again"):
            studies = pq.read_table(file, columns=["study"])[0].to_pylist()
        yield from studies
