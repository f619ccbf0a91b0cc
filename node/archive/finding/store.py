"""What was found so far, on disk, so that a search goes on where it ended; and its catalogue.

A search is made of parts: the folders of a tree, the days of a server. What was found in them is
kept in files below `secret/found`, each written whole and then renamed, with the names of the parts
that it ends. The catalogue is made anew from all of them.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from node.archive.finding.series import FoundSeries, from_row, to_row
from node.archive.proof import MARK, Proof, undamaged
from node.disk import sync_file, sync_folder
from node.errors import BadConfiguration
from node.folder_lock import Turn

KEPT_EVERY_S = 30.0
"""So much of a search is done again at most, if its process is killed; chosen."""
_AGAIN = "have ichnode archive find search the same source again"
_DONE = b"ichnode.done"

_NUMBERS = {
    "thickness_mm": pa.float64(),
    "spacing_mm": pa.float64(),
    "slices": pa.int32(),
    "age_years": pa.float64(),
    "taken": pa.bool_(),
    "paths": pa.list_(pa.string()),
}


def _schema(*names: str) -> pa.Schema:
    return pa.schema([(name, _NUMBERS.get(name, pa.string())) for name in names])


FOUND = _schema(*FoundSeries.__dataclass_fields__)
CATALOGUE = _schema(
    *("study", "series", "patient", "accession", "study_date", "source", "modality", "body_part"),
    *("description", "manufacturer", "model", "software", "scanner", "kernel", "thickness_mm"),
    *("spacing_mm", "slices", "age_band", "sex", "place", "taken", "why"),
)
WHERE = _schema(
    *("study", "series", "study_instance_uid", "series_instance_uid", "patient_id"),
    *("issuer_of_patient_id", "accession_number", "source", "paths"),
)

Join = Callable[[Sequence[FoundSeries]], FoundSeries]
"""Returns one series for what several parts have of it, in the order in which they were found."""


class Store:
    """What was found of all sources of a proof. One process at a time searches.

    Raises
    ------
    BadConfiguration
        If the proof cannot be made, another process searches for it, or what was found is damaged.
    """

    def __init__(self, proof: Proof, clock: Callable[[], float] = time.monotonic) -> None:
        proof.make()
        self._names = proof.pseudonyms()
        self._proof, self._folder, self._clock = proof, proof.secret / "found", clock
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._turn = Turn(proof.secret, "find.lock")
        if not self._turn.taken():
            raise BadConfiguration(f"another ichnode archive find works on {proof.root}")
        try:
            self._done = {part for file in self._files() for part in _done(file)}
        except BadConfiguration:
            self.close()
            raise
        self._ended: list[str] = []
        self._rows: list[FoundSeries] = []
        self._kept_at = clock()

    def is_done(self, part: str) -> bool:
        """Whether a part was searched to its end."""
        return part in self._done

    def add(self, part: str, found: Iterable[FoundSeries], *, ended: bool = True) -> None:
        """Take what was found in a part; `ended` says that it need not be searched again."""
        self._rows += found
        if ended:
            self._ended.append(part)
            self._done.add(part)
        if self._clock() - self._kept_at > KEPT_EVERY_S:
            self.keep()

    def keep(self) -> None:
        """Make durable what was taken."""
        self._kept_at = self._clock()
        if not self._rows and not self._ended:
            return
        table = pa.Table.from_pylist([to_row(row) for row in self._rows], schema=FOUND)
        table = table.replace_schema_metadata({_DONE: json.dumps(self._ended)})
        last = max((int(file.stem) for file in self._files()), default=0)
        _write(table, self._folder / f"{last + 1:08}.parquet")
        self._rows, self._ended = [], []

    def close(self) -> None:
        """Let another process search."""
        self._turn.leave()

    def write_catalogue(self, join: Join) -> "Tally":
        """Write the catalogue and what its pseudonyms stand for, from all that was found."""
        self.keep()
        tally = Tally()
        catalogue, where = self._proof.catalogue, self._proof.where
        marked = CATALOGUE.with_metadata({MARK: self._names.mark})
        with _Table(catalogue, marked) as described, _Table(where, WHERE) as kept:
            for batch in self._once(join):
                tally.count(batch)
                described.write([series.described(self._names) for series in batch])
                kept.write([series.kept(self._names) for series in batch])
        return tally

    def _once(self, join: Join) -> Iterator[list[FoundSeries]]:
        """Yield each series once; those of several parts come last."""
        seen: set[str] = set()
        again: set[str] = set()
        for file in self._files():
            with undamaged(file, _AGAIN):
                uids = pq.read_table(file, columns=["series_instance_uid"])[0].to_pylist()
            for uid in uids:
                (again if uid in seen else seen).add(uid)
        several: dict[str, list[FoundSeries]] = {}
        for file in self._files():
            with undamaged(file, _AGAIN):
                rows = [from_row(row) for row in pq.read_table(file).to_pylist()]
            yield [row for row in rows if row.series_instance_uid not in again]
            for row in rows:
                if row.series_instance_uid in again:
                    several.setdefault(row.series_instance_uid, []).append(row)
        yield [join([s for s in rows if s.source == rows[0].source]) for rows in several.values()]

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet"))


class Tally:
    """How many studies and series there are, and why series are not taken."""

    def __init__(self) -> None:
        self._found: set[str] = set()
        self._taken: set[str] = set()
        self.series = 0
        self.series_taken = 0

    def count(self, batch: Iterable[FoundSeries]) -> None:
        """Count these series."""
        for series in batch:
            self.series += 1
            self.series_taken += series.taken
            self._found.add(series.study_instance_uid)
            if series.taken:
                self._taken.add(series.study_instance_uid)

    @property
    def studies(self) -> int:
        """How many studies were found."""
        return len(self._found)

    @property
    def studies_taken(self) -> int:
        """How many of them have a series that is taken."""
        return len(self._taken)

    def to_json(self) -> dict[str, int]:
        """Return the numbers by name."""
        named = ("studies", "studies_taken", "series", "series_taken")
        return {name: getattr(self, name) for name in named}


class _Table:
    """A Parquet file that is written whole and then takes the place of an older one."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._partial = path, path.with_name(f"_{path.name}.partial")
        self._schema = schema

    def __enter__(self) -> "_Table":
        self._writer = pq.ParquetWriter(self._partial, self._schema)
        return self

    def write(self, rows: Sequence[dict[str, object]]) -> None:
        self._writer.write_table(pa.Table.from_pylist(list(rows), schema=self._schema))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._writer.close()
        if kind is None:
            _put(self._partial, self._path)


def _write(table: pa.Table, path: Path) -> None:
    partial = path.with_name(f"_{path.name}.partial")
    pq.write_table(table, partial)
    _put(partial, path)


def _put(partial: Path, path: Path) -> None:
    """Let a whole file take its place for good."""
    sync_file(partial)
    partial.rename(path)
    sync_folder(path.parent)


def _done(file: Path) -> list[str]:
    with undamaged(file, _AGAIN):
        metadata = pq.read_schema(file).metadata or {}
    ended: list[str] = json.loads(metadata.get(_DONE, b"[]"))
    return ended
