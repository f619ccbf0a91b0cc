"""The folder of a proof: where the commands of an archive find each other's files, and its secret.

    secret/key           32 random bytes, from which the pseudonyms follow; never leaves
    secret/where.parquet what the pseudonyms stand for; never leaves
    secret/labels.csv    what the reports say, by real accession numbers; never leaves
    catalogue.parquet    a row for each series found
    outcomes/*.parquet   a row for each study read
    images/STUDY.npz     what people look at
    sample.json  decisions.jsonl
    limits.toml  report.html  report.json

Everything outside of `secret` names studies and patients by pseudonyms alone.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from node.disk import make_private, sync_folder
from node.errors import BadConfiguration, Outage

KEY_BYTES = 32
MARK = b"ichnode.key"
"""Of which key a catalogue has its pseudonyms, in the metadata of its schema."""
PSEUDONYM_DIGITS = 16
"""64 bits: among ten million studies two share a pseudonym with a chance of one in 370,000."""


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Names that say nothing, and that nobody without the key can trace back or make anew.

    What has no name has no pseudonym: two studies without an accession number do not share one.
    """

    key: bytes

    def study(self, uid: str) -> str:
        """Return the pseudonym of a StudyInstanceUID."""
        return self._of("study", uid)

    def series(self, uid: str) -> str:
        """Return the pseudonym of a SeriesInstanceUID."""
        return self._of("series", uid)

    def patient(self, patient_id: str, issuer: str = "") -> str:
        """Return the pseudonym of a PatientID and of who issued it."""
        return self._of("patient", f"{patient_id}\0{issuer}") if patient_id else ""

    def accession(self, number: str) -> str:
        """Return the pseudonym of an AccessionNumber; spaces around it do not count."""
        return self._of("accession", number.strip())

    def station(self, name: str) -> str:
        """Return the pseudonym of a StationName, which may name a hospital."""
        return self._of("station", name.strip())

    def folder(self, path: str) -> str:
        """Return the pseudonym of a folder of images: often it is named after a patient."""
        return self._of("folder", path)

    @property
    def mark(self) -> str:
        """What tells this key from another, and nothing of the key."""
        return self._of("mark", "key")

    def exported(self, uid: str) -> str:
        """Return the StudyInstanceUID that a study has in an export (PS3.5 B.2)."""
        return f"2.25.{int(self._digest('exported', uid)[:32], 16)}"

    def _of(self, kind: str, value: str) -> str:
        return self._digest(kind, value)[:PSEUDONYM_DIGITS] if value else ""

    def _digest(self, kind: str, value: str) -> str:
        return hmac.new(self.key, f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Proof:
    """The folder of a proof; a file of it need not be there yet."""

    root: Path

    @property
    def secret(self) -> Path:
        """The folder of what names patients; it never leaves."""
        return self.root / "secret"

    @property
    def where(self) -> Path:
        """What the pseudonyms stand for, and where the images are."""
        return self.secret / "where.parquet"

    @property
    def catalogue(self) -> Path:
        """A row for each series found."""
        return self.root / "catalogue.parquet"

    @property
    def outcomes(self) -> Path:
        """The folder of the rows of studies that were read."""
        return self.root / "outcomes"

    @property
    def labels(self) -> Path:
        """What the reports say: real accession numbers, and sentences that may name a patient."""
        return self.secret / "labels.csv"

    @property
    def sample(self) -> Path:
        """Which studies people were asked about."""
        return self.root / "sample.json"

    @property
    def decisions(self) -> Path:
        """What people decided, a JSON object a line."""
        return self.root / "decisions.jsonl"

    @property
    def limits(self) -> Path:
        """What the department demanded beforehand."""
        return self.root / "limits.toml"

    def image(self, study: str) -> Path:
        """Return where the images of a study lie, by its pseudonym."""
        return self.root / "images" / f"{study}.npz"

    def make(self) -> None:
        """Make the folder, its secret and its key, where they are not there yet.

        Raises
        ------
        BadConfiguration
            If they cannot be made; or if there is a catalogue, and its key is gone.
        """
        make_private(self.root, "PROOF")
        make_private(self.secret, "PROOF")
        if not self._key.exists():
            if self.catalogue.exists():
                raise BadConfiguration(
                    f"{self.catalogue} is there, and the key of its pseudonyms is not: put "
                    f"{self.secret} back as it was, or begin another proof in a new folder"
                )
            self._make_key()

    def pseudonyms(self) -> Pseudonyms:
        """Return the pseudonyms of this proof.

        Raises
        ------
        BadConfiguration
            If the folder has no key, a damaged one, or one that its catalogue was not made with.
        """
        try:
            key = self._key.read_bytes()
        except OSError as error:
            raise BadConfiguration(
                f"{self.root} is no proof: {self._key} cannot be read ({error.strerror}); "
                "ichnode archive find makes one"
            ) from error
        if len(key) != KEY_BYTES:
            raise BadConfiguration(
                f"{self._key} has {len(key)} bytes and not {KEY_BYTES}: put the right one back, "
                "other pseudonyms would follow from a new one"
            )
        names = Pseudonyms(key)
        self._require(names)
        return names

    def _require(self, names: Pseudonyms) -> None:
        """Raise `BadConfiguration` if the catalogue has the pseudonyms of another key."""
        if not self.catalogue.exists():
            return
        from pyarrow import ArrowException
        from pyarrow.parquet import read_schema

        try:
            told = read_schema(self.catalogue).metadata or {}
        except (ArrowException, OSError):  # whoever reads its rows tells it
            return
        if told.get(MARK, names.mark.encode()) != names.mark.encode():
            raise BadConfiguration(
                f"{self._key} is not the key that {self.catalogue} was made with: put the right "
                "one back, other pseudonyms follow from this one"
            )

    @property
    def _key(self) -> Path:
        return self.secret / "key"

    def _make_key(self) -> None:
        """Leave a whole key or none; of two that make one at the same moment, the first counts."""
        partial = self.secret / f"key.{os.getpid()}.partial"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            self._key.hardlink_to(partial)
        partial.unlink()
        sync_folder(self.secret)


@contextmanager
def undamaged(file: Path, again: str) -> Iterator[None]:
    """Tell of a damaged Parquet file of a proof, and what to do.

    Parameters
    ----------
    again
        How what it held comes back once it is taken away, as the end of a sentence.

    Raises
    ------
    BadConfiguration
        If it is no Parquet file, or is damaged.
    """
    from pyarrow import ArrowInvalid

    try:
        yield
    except ArrowInvalid as error:
        raise BadConfiguration(
            f"{file} is damaged ({error}): put it back from a copy, or take it away and {again}"
        ) from error


@contextmanager
def disk_faults(folder: Path) -> Iterator[None]:
    """Tell of a disk that is full, takes no writes or fails, while a command works on a folder.

    Raises
    ------
    Outage
        In the place of any `OSError`.
    """
    try:
        yield
    except OSError as error:
        what = os.strerror(error.errno) if error.errno else str(error)
        where = f"{folder} ({error.filename})" if error.filename else folder
        raise Outage(
            f"{where}: {what}. What was written before stays; the same command goes on as soon as "
            "the disk allows it"
        ) from error
